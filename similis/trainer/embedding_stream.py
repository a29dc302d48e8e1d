"""The bulk lane to the embedder: one stream that is mended when it breaks, with nothing answered sent again."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np
import numpy.typing as npt

from similis.proto.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from similis.servicekit.errors import ServiceError, Unavailable
from similis.servicekit.grpc_channel import call_metadata
from similis.servicekit.grpc_status import from_rpc_error
from similis.servicekit.logs import get_logger
from similis.trainer.failure import ImageFailed, Reason
from similis.trainer.patience import FIRST_DELAY, TRANSIENT, jittered, next_delay

log = get_logger(__name__)

# A stream ends by itself after this time: replicas that are new get their share, and a server can drain.
MAX_AGE_SECONDS = 300.0
# An embedder that says nothing for so long, with images waiting, hangs.
STALL_SECONDS = 120.0
# The same image gives the same views each time.
VIEW_SEED = 1

Vector = npt.NDArray[np.float32]


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


class EmbeddingStream:
    """Embeds images, as many at once as are waited for; the caller bounds them."""

    def __init__(
        self,
        stub: "embedder_pb2_grpc.EmbedderServiceAsyncStub",
        checksum: str,
        dimension: int,
        *,
        patience_seconds: float,
    ) -> None:
        self._stub = stub
        self._checksum = checksum
        self._dimension = dimension
        self._patience_seconds = patience_seconds
        self._numbers = itertools.count(1)
        self._items: dict[int, _Item] = {}
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._wanted = asyncio.Event()
        self._failed: ServiceError | None = None
        self._answers = 0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["EmbeddingStream"]:
        """Usable while entered."""
        task = asyncio.create_task(self._run(), name="embedding-stream")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def embed(self, image: bytes, views: int = 0) -> Embedded:
        """The backbone's vector of an encoded image, and of so many augmented views of it.

        Raises ImageFailed for a bad image; for the whole stream FailedPrecondition (backbone_changed) when another
        backbone is served now, and Unavailable when the embedder stays away for longer than patience lasts.
        """
        if self._failed is not None:
            raise self._failed
        item = _Item(next(self._numbers), image, views, asyncio.get_running_loop().create_future())
        self._items[item.id] = item
        self._queue.put_nowait(item)
        self._wanted.set()
        try:
            return await item.answer
        finally:
            del self._items[item.id]

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        except ServiceError as error:
            self._fail(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.error("embedding_stream_failed", exc_info=error)
            self._fail(Unavailable("The embedder cannot be used.", code="embedder_unavailable"))

    async def _keep_connected(self) -> None:
        """Returns never. Raises the error that ends the stream for all who wait."""
        delay, good = FIRST_DELAY, time.monotonic()
        while True:
            await self._something_waits()
            answers = self._answers
            error = await self._one_call()
            if self._answers > answers or error is None:
                delay, good = FIRST_DELAY, time.monotonic()
            if error is None:
                continue
            if not isinstance(error, TRANSIENT):
                raise error
            if time.monotonic() - good > self._patience_seconds:
                raise Unavailable("The embedder is not available.", code="embedder_unavailable") from error
            log.warning("embedder_wait", code=error.code, waiting=len(self._items))
            await asyncio.sleep(jittered(max(delay, min(error.retry_after or 0.0, 5.0))))
            delay = next_delay(delay)

    async def _something_waits(self) -> None:
        while not self._items:
            self._wanted.clear()
            await self._wanted.wait()

    async def _one_call(self) -> ServiceError | None:
        """One stream from beginning to end; None when it ended because we ended it."""
        self._queue = asyncio.Queue()
        for item in self._items.values():
            self._queue.put_nowait(item)
        began = time.monotonic()
        call = self._stub.EmbedStream(self._requests(self._queue, began + MAX_AGE_SECONDS), metadata=call_metadata())
        try:
            while True:
                async with asyncio.timeout(STALL_SECONDS):
                    response = await call.read()
                if not isinstance(response, embedder_pb2.EmbedStreamResponse):
                    # The end; in good order only if it was ours to end.
                    return None if time.monotonic() >= began + MAX_AGE_SECONDS else _broken()
                self._settle(response)
        except TimeoutError:
            return Unavailable("The embedder does not answer.", code="embedder_unavailable") if self._items else None
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error, upstream="embedder")
        finally:
            call.cancel()

    async def _requests(
        self, queue: "asyncio.Queue[_Item]", end: float
    ) -> AsyncIterator[embedder_pb2.EmbedStreamRequest]:
        while True:
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    item = await queue.get()
            except TimeoutError:
                return
            if item.id in self._items and not item.answer.done():
                yield embedder_pb2.EmbedStreamRequest(
                    item_id=item.id,
                    image=item.image,
                    backbone_checksum=self._checksum,
                    views=embedder_pb2.Views(count=item.views, seed=VIEW_SEED) if item.views else None,
                )

    def _settle(self, response: embedder_pb2.EmbedStreamResponse) -> None:
        self._answers += 1
        item = self._items.get(response.item_id)
        if item is None or item.answer.done():
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


def _broken() -> ServiceError:
    return Unavailable("The embedder ended the stream.", code="embedder_unavailable")


def _image_failed(code: str, message: str) -> ImageFailed:
    try:
        return ImageFailed(Reason(code), message)
    except ValueError:
        return ImageFailed(Reason.EMBEDDING_FAILED, f"{code}: {message}")
