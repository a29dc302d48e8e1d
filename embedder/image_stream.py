"""One bulk stream: takes up so many images at once, answers each when it is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType

from similis.embedder.v1 import embedder_pb2

from embedder.scheduling.work_item import Outcome
from embedder.service import Embedding
from servicekit.errors import ServiceError

# Encoded images of one stream that are here at once, whatever their number.
MAX_HELD_BYTES = 32 << 20
PAUSE_SECONDS, DISCARD_SECONDS = 0.1, 2.0

Request = embedder_pb2.EmbedStreamRequest
Response = embedder_pb2.EmbedStreamResponse


class ImageStream:
    """Iterate it for the responses. Leaving it drops what is still under way.

    The next request is read only when fewer than `in_flight` are unanswered, so that HTTP/2's flow control holds the
    caller back. A request that is wrong in itself (checksum, views) ends the stream; a bad image does not.
    """

    def __init__(
        self, embedding: Embedding, in_flight: int, requests: AsyncIterator[Request], stopping: asyncio.Event
    ) -> None:
        """stopping: when it is set, no more is taken up, and the stream ends when what is here was answered."""
        self._embedding = embedding
        self._stopping = stopping
        self._requests = requests
        self._in_flight = in_flight
        self._held: dict[int, int] = {}
        self._freed = asyncio.Event()
        self._done: asyncio.Queue[tuple[int, Response] | Exception | None] = asyncio.Queue()
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
        number, response = done
        self._held.pop(number, None)
        self._freed.set()
        return response

    def _start(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self) -> None:
        own = asyncio.current_task()
        try:
            await self._take_up()
            while others := self._tasks - {own}:
                await asyncio.wait(others)
            await self._done.put(None)
        except ServiceError as error:
            with contextlib.suppress(StopAsyncIteration):
                await self._discard()
            await self._done.put(error)
        except Exception as error:
            await self._done.put(error)

    async def _take_up(self) -> None:
        """Takes up all requests, or those that come before the stop."""
        taking = asyncio.create_task(self._take_all())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped = not taking.done()
            for task in (taking, stopping):
                task.cancel()
            await asyncio.gather(taking, stopping, return_exceptions=True)
        if not stopped or not taking.cancelled():
            taking.result()

    async def _take_all(self) -> None:
        number = 0
        async for request in self._requests:
            self._check(request)
            self._held[number] = len(request.image)
            self._start(self._answer(number, request.item_id, request.image, request.views.count, request.views.seed))
            number += 1
            # Not held while the next one is awaited: it would be a second copy of the image.
            del request
            await self._room()

    def _check(self, request: Request) -> None:
        self._embedding.check_checksum(request.backbone_checksum)
        self._embedding.check_views(request.views.count)

    async def _discard(self) -> None:
        """Reads on until the caller pauses: one that is sending while its stream ends never learns the status."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while True:
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await anext(self._requests)

    async def _room(self) -> None:
        while len(self._held) >= self._in_flight or sum(self._held.values()) >= MAX_HELD_BYTES:
            self._freed.clear()
            await self._freed.wait()

    async def _answer(self, number: int, item_id: int, image: bytes, views: int, seed: int) -> None:
        try:
            outcome = await self._embedding.embed(image, "bulk", views=views, seed=seed)
        except Exception as error:
            await self._done.put(error)
        else:
            await self._done.put((number, _response(item_id, outcome)))


def _response(item_id: int, outcome: Outcome) -> Response:
    if outcome.code is not None:
        error = embedder_pb2.ItemError(code=outcome.code, message=outcome.message)
        return Response(item_id=item_id, error=error)
    vector, *views = outcome.vectors
    return Response(item_id=item_id, embedding=embedder_pb2.Embedding(vector=vector, views=views))
