"""One bulk stream: it accepts a limited number of images at a time, and answers each as soon as it is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType

from similis.embedder.v1 import embedder_pb2

from embedder.service import EmbeddingService
from embedder.workers.messages import FLOAT_BYTES, WorkResult
from servicekit.errors import ServiceError
from servicekit.process.fault_points import FaultPoint

# The encoded images of one stream may take this much memory, whatever their number.
MAX_HELD_BYTES = 32 << 20
PAUSE_SECONDS, DISCARD_SECONDS = 0.1, 2.0

Request = embedder_pb2.EmbedStreamRequest
Response = embedder_pb2.EmbedStreamResponse


class ImageStream:
    """An asynchronous iterator over the responses. Leaving it cancels the images that are not answered yet.

    It reads the next request only when fewer than `in_flight` images are unanswered, so that HTTP/2 flow control slows
    the caller down. An invalid request (checksum, number of views) ends the stream; a bad image does not.
    """

    def __init__(
        self, service: EmbeddingService, in_flight: int, requests: AsyncIterator[Request], stopping: asyncio.Event
    ) -> None:
        """stopping: once it is set, the stream accepts no more images, and ends when the others are answered."""
        self._service = service
        self._stopping = stopping
        self._requests = requests
        self._in_flight = in_flight
        # The sizes of the unanswered images, by their number in the stream.
        self._held: dict[int, int] = {}
        self._freed = asyncio.Event()
        self._done: asyncio.Queue[tuple[int, Response] | Exception | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ImageStream":
        self._start(self._run())
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

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        """Accept images, wait until all are answered, and end the stream."""
        own = asyncio.current_task()
        try:
            await self._accept_until_stopped()
            while others := self._tasks - {own}:
                await asyncio.wait(others)
            await self._done.put(None)
        except ServiceError as error:
            with contextlib.suppress(StopAsyncIteration):
                await self._discard()
            await self._done.put(error)
        except Exception as error:
            await self._done.put(error)

    async def _accept_until_stopped(self) -> None:
        accepting = asyncio.create_task(self._accept_all())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped = not accepting.done()
            for task in (accepting, stopping):
                task.cancel()
            await asyncio.gather(accepting, stopping, return_exceptions=True)
        if not stopped or not accepting.cancelled():
            accepting.result()

    async def _accept_all(self) -> None:
        number = 0
        async for request in self._requests:
            self._service.check_checksum(request.backbone_checksum)
            self._service.check_views(request.views.count)
            self._held[number] = len(request.image)
            self._start(
                self._answer(number, request.item_id, request.image, request.views, miniature=request.miniature)
            )
            number += 1
            # While this waits for the next request, the request would hold a second copy of the image.
            del request
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        while len(self._held) >= self._in_flight or sum(self._held.values()) >= MAX_HELD_BYTES:
            self._freed.clear()
            await self._freed.wait()

    async def _answer(
        self, number: int, item_id: int, image: bytes, views: embedder_pb2.Views, *, miniature: bool
    ) -> None:
        whole = not (views.count and views.only)
        try:
            result = await self._service.embed(
                image, "bulk", views=views.count, seed=views.seed, whole=whole, miniature=miniature
            )
        except Exception as error:
            await self._done.put(error)
        else:
            FaultPoint.IMAGE_ANSWERED.reach()
            await self._done.put((number, _response(item_id, result, self._service.served.dimension, whole=whole)))

    async def _discard(self) -> None:
        """Read requests until the caller pauses, because one that is still sending would miss the stream's status."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while True:
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await anext(self._requests)


def _response(item_id: int, result: WorkResult, dimension: int, *, whole: bool) -> Response:
    if result.code is not None:
        error = embedder_pb2.ItemError(code=result.code, message=result.message)
        return Response(item_id=item_id, error=error)
    size = dimension * FLOAT_BYTES
    vectors = [result.vectors[start : start + size] for start in range(0, len(result.vectors), size)]
    vector = vectors.pop(0) if whole else b""
    miniature = None
    if result.miniature:
        miniature = embedder_pb2.Miniature(width=result.miniature_width, pixels=result.miniature)
    embedding = embedder_pb2.Embedding(vector=vector, views=vectors, warnings=result.warnings, miniature=miniature)
    return Response(item_id=item_id, embedding=embedding)
