"""One bulk stream: takes up so many images at once, answers each when it is done."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from similis.embedder.embedding import Embedding
from similis.embedder.item import Outcome
from similis.proto.embedder.v1 import embedder_pb2

Request = embedder_pb2.EmbedStreamRequest
Response = embedder_pb2.EmbedStreamResponse


class ImageStream:
    """Iterate it for the responses. Leaving it drops what is still under way.

    The next request is read only when fewer than `in_flight` are unanswered, so that HTTP/2's flow control holds the
    caller back. A request that is wrong in itself (checksum, views) ends the stream; a bad image does not.
    """

    def __init__(self, embedding: Embedding, in_flight: int, requests: AsyncIterator[Request]) -> None:
        self._embedding = embedding
        self._requests = requests
        self._room = asyncio.Semaphore(in_flight)
        self._done: asyncio.Queue[Response | Exception | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ImageStream":
        self._start(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __aiter__(self) -> "ImageStream":
        return self

    async def __anext__(self) -> Response:
        done = await self._done.get()
        if done is None:
            raise StopAsyncIteration
        if isinstance(done, Exception):
            raise done
        self._room.release()
        return done

    def _start(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self) -> None:
        own = asyncio.current_task()
        try:
            await self._room.acquire()
            async for request in self._requests:
                self._embedding.check_checksum(request.backbone_checksum)
                self._embedding.check_views(request.views.count)
                self._start(self._answer(request))
                await self._room.acquire()
            while others := self._tasks - {own}:
                await asyncio.wait(others)
            await self._done.put(None)
        except Exception as error:
            await self._done.put(error)

    async def _answer(self, request: Request) -> None:
        try:
            views = request.views
            outcome = await self._embedding.embed(request.image, "bulk", views=views.count, seed=views.seed)
        except Exception as error:
            await self._done.put(error)
        else:
            await self._done.put(_response(request.item_id, outcome))


def _response(item_id: int, outcome: Outcome) -> Response:
    if outcome.code is not None:
        error = embedder_pb2.ItemError(code=outcome.code, message=outcome.message)
        return Response(item_id=item_id, error=error)
    vector, *views = outcome.vectors
    return Response(item_id=item_id, embedding=embedder_pb2.Embedding(vector=vector, views=views))
