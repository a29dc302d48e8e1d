"""The bulk lane to the embedder: several streams, mended when they break, with nothing answered sent again.

The channel deals the streams out to the embedder's replicas. What waits goes to the stream that has room; what a broken
one had not answered goes to the others.
"""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import numpy as np
import numpy.typing as npt
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from servicekit.errors import ServiceError, Unavailable
from servicekit.grpc.calls import RpcCalls
from servicekit.grpc.status import from_rpc_error
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from trainer.download.failures import ImageFailed, Reason
from trainer.jobs.retry import FIRST_DELAY, TRANSIENT, jittered, next_delay
from trainer.jobs.task_errors import first_error

log = get_logger(__name__)

STREAMS = 4
# A further stream begins when the ones before it have so many images each: few are better in one batch.
IMAGES_PER_STREAM = 8
# A stream ends by itself after about this time: replicas that are new get their share, and a server can drain.
MAX_AGE_SECONDS = 300.0
# An embedder that says nothing for so long, with images waiting, hangs.
STALL_SECONDS = 120.0
# The same image gives the same views each time.
VIEW_SEED = 1

Vector = npt.NDArray[np.float32]
_Call: TypeAlias = "grpc.aio.StreamStreamCall[embedder_pb2.EmbedStreamRequest, embedder_pb2.EmbedStreamResponse]"


@dataclass(frozen=True)
class Embedded:
    """What the backbone made of an image. vector: [dim]; views: [n, dim], the augmented views that were asked for."""

    vector: Vector
    views: Vector


@dataclass
class _Item:
    id: int
    image: bytes
    views: int
    answer: "asyncio.Future[Embedded]"


@dataclass
class _Open:
    """One stream. held: what it was given and has not answered. over: it ended; whoever fed it may still wait."""

    end: float
    held: dict[int, _Item] = field(default_factory=dict)
    over: bool = False


class EmbeddingStream:
    """Embeds images, as many at once as are waited for; the caller bounds them."""

    def __init__(
        self,
        stub: "embedder_pb2_grpc.EmbedderServiceAsyncStub",
        calls: RpcCalls,
        checksum: str,
        dimension: int,
        *,
        patience_seconds: float,
    ) -> None:
        self._stub = stub
        self._calls = calls
        self._checksum = checksum
        self._dimension = dimension
        self._patience_seconds = patience_seconds
        self._numbers = itertools.count(1)
        # All that are waited for, and of these the ones that no stream has.
        self._items: dict[int, _Item] = {}
        self._queue: deque[_Item] = deque()
        self._changed = asyncio.Event()
        self._failed: ServiceError | None = None
        self._open = 0
        # When an answer last came, or nothing was waited for.
        self._good = 0.0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["EmbeddingStream"]:
        """Usable while entered."""
        async with in_background(self._run(), "embedding-stream"):
            yield self

    async def embed(self, image: bytes, views: int = 0) -> Embedded:
        """The backbone's vector of an encoded image, and of so many augmented views of it.

        Raises ImageFailed for a bad image; for the whole stream FailedPrecondition (backbone_changed) when another
        backbone is served now, and Unavailable when the embedder stays away for longer than patience lasts.
        """
        if self._failed is not None:
            raise self._failed
        if not self._items:
            self._good = time.monotonic()
        item = _Item(next(self._numbers), image, views, asyncio.get_running_loop().create_future())
        self._items[item.id] = item
        self._queue.append(item)
        self._changed.set()
        try:
            return await item.answer
        finally:
            del self._items[item.id]

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(STREAMS):
                    group.create_task(self._keep_connected(number))
        except ExceptionGroup as errors:
            error = first_error(errors)
            if isinstance(error, ServiceError):
                self._fail(error)
            else:
                log.error("embedding_stream_failed", exc_info=error)
                self._fail(Unavailable("The embedder cannot be used.", code="embedder_unavailable"))

    async def _keep_connected(self, number: int) -> None:
        """One of the streams, for ever. Raises the error that ends all of them for all who wait."""
        delay = FIRST_DELAY
        while True:
            await self._until(lambda: bool(self._queue) and len(self._items) > number * IMAGES_PER_STREAM)
            began = time.monotonic()
            error = await self._one_call()
            if self._good > began or error is None:
                delay = FIRST_DELAY
            if error is None:
                continue
            if not isinstance(error, TRANSIENT):
                raise error
            if time.monotonic() - self._good > self._patience_seconds:
                raise Unavailable("The embedder is not available.", code="embedder_unavailable") from error
            log.warning("embedder_wait", code=error.code, waiting=len(self._items))
            await asyncio.sleep(jittered(max(delay, min(error.retry_after or 0.0, 5.0))))
            delay = next_delay(delay)

    async def _one_call(self) -> ServiceError | None:
        """One stream from beginning to end; None when it ended because we ended it."""
        opened = _Open(time.monotonic() + MAX_AGE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 (no secret)
        self._open += 1
        try:
            with self._calls.call("EmbedStream") as metadata:
                call = self._stub.EmbedStream(self._requests(opened), metadata=metadata)
                try:
                    return await self._answers(call, opened)
                finally:
                    call.cancel()
        except TimeoutError:
            return Unavailable("The embedder does not answer.", code="embedder_unavailable") if opened.held else None
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error, upstream="embedder")
        except asyncio.CancelledError:
            if _we_are_cancelled():
                raise
            return _broken()
        finally:
            self._open -= 1
            opened.over = True
            self._queue.extendleft(reversed([item for item in opened.held.values() if not item.answer.done()]))
            self._changed.set()

    async def _answers(self, call: "_Call", opened: _Open) -> ServiceError | None:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                response = await call.read()
            if not isinstance(response, embedder_pb2.EmbedStreamResponse):
                # The end; in good order only if it was ours to end.
                return None if time.monotonic() >= opened.end else _broken()
            self._good = time.monotonic()
            item = opened.held.pop(response.item_id, None)
            if item is not None:
                self._settle(item, response)
            self._changed.set()

    async def _requests(self, opened: _Open) -> AsyncIterator[embedder_pb2.EmbedStreamRequest]:
        while True:
            try:
                async with asyncio.timeout(opened.end - time.monotonic()):
                    await self._until(lambda: opened.over or (bool(self._queue) and self._has_room(opened)))
            except TimeoutError:
                return
            if opened.over:
                return
            item = self._queue.popleft()
            if item.id in self._items and not item.answer.done():
                opened.held[item.id] = item
                yield embedder_pb2.EmbedStreamRequest(
                    item_id=item.id,
                    image=item.image,
                    backbone_checksum=self._checksum,
                    views=embedder_pb2.Views(count=item.views, seed=VIEW_SEED) if item.views else None,
                )

    def _has_room(self, opened: _Open) -> bool:
        # No more than its share: a slow replica is not given what another could take.
        return len(opened.held) <= len(self._items) // max(self._open, 1)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _settle(self, item: _Item, response: embedder_pb2.EmbedStreamResponse) -> None:
        if item.answer.done():
            return
        if response.WhichOneof("outcome") == "embedding":
            embedded = _embedded(response.embedding, item.views)
            if embedded.vector.shape == (self._dimension,):
                item.answer.set_result(embedded)
            else:
                item.answer.set_exception(ImageFailed(Reason.EMBEDDING_FAILED, "the vector is not usable"))
        else:
            item.answer.set_exception(_image_failed(response.error.code, response.error.message))

    def _fail(self, error: ServiceError) -> None:
        self._failed = error
        for item in self._items.values():
            if not item.answer.done():
                item.answer.set_exception(error)


def _embedded(answer: embedder_pb2.Embedding, views: int) -> Embedded:
    """The answer's vector [dim] and its views [views, dim]; empty ones if it is not of that form or not finite."""
    rows = [np.frombuffer(row, dtype="<f4") for row in (answer.vector, *answer.views)]
    usable = len(rows) == 1 + views and len({len(row) for row in rows}) == 1
    if not usable or not all(np.isfinite(row).all() for row in rows):
        return Embedded(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    return Embedded(rows[0], np.stack(rows)[1:])


def _we_are_cancelled() -> bool:
    """Or the call is: what gRPC raises when it ends a call by itself looks the same."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _broken() -> ServiceError:
    return Unavailable("The embedder ended the stream.", code="embedder_unavailable")


def _image_failed(code: str, message: str) -> ImageFailed:
    try:
        return ImageFailed(Reason(code), message)
    except ValueError:
        return ImageFailed(Reason.EMBEDDING_FAILED, f"{code}: {message}")
