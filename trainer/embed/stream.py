"""The embedding stream: sends images to the embedder's bulk lane over several gRPC calls, and reconnects broken ones.

gRPC spreads the calls over the embedder's replicas. Each image goes to the call that has room for it. When a call
breaks, the images that it had not answered go to the others; answered images are not sent again.
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

from catalog.duplicates.miniatures import Miniature
from servicekit.backoff import Backoff
from servicekit.download.failures import ImageFailed, Reason
from servicekit.errors import ServiceError, Unavailable
from servicekit.grpc.calls import RpcCalls
from servicekit.grpc.status import from_rpc_error
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from trainer.jobs.retry import TRANSIENT

log = get_logger(__name__)

CALLS = 4
# Another call is opened once the open ones have this many images each: a few images are better off in one batch.
IMAGES_PER_CALL = 8
# A call ends by itself after about this time, so that new replicas get their share and old ones can drain.
MAX_AGE_SECONDS = 300.0
# An embedder that has images and sends nothing for this long has hung.
STALL_SECONDS = 120.0
# A fixed seed: an image has the same views each time.
VIEW_SEED = 1

Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
_Call: TypeAlias = "grpc.aio.StreamStreamCall[embedder_pb2.EmbedStreamRequest, embedder_pb2.EmbedStreamResponse]"


@dataclass(frozen=True)
class Embedded:
    """The result for one image. vector: [dim]; views: [n, dim], the augmented views that were asked for.

    warnings: codes of what was wrong with the image, which was embedded all the same. miniature: None from an embedder
    of an older release.
    """

    vector: Vector
    views: Vector
    warnings: tuple[str, ...] = ()
    miniature: Miniature | None = None


@dataclass
class _Pending:
    """An image that waits for its result."""

    id: int
    image: bytes
    views: int
    # Whether the image itself is embedded too.
    whole: bool
    result: "asyncio.Future[Embedded]"


@dataclass
class _OpenCall:
    """One call. sent: the images that it has not answered. ended: its request side may still wait."""

    end: float
    sent: dict[int, _Pending] = field(default_factory=dict)
    ended: bool = False


class EmbeddingStream:
    """Embeds images with one backbone. The caller limits how many it sends at a time."""

    def __init__(
        self,
        stub: "embedder_pb2_grpc.EmbedderServiceAsyncStub",
        calls: RpcCalls,
        checksum: str,
        dimension: int,
        *,
        max_image_bytes: int,
        patience_seconds: float,
    ) -> None:
        """checksum, dimension: of the backbone. max_image_bytes: the largest image that the embedder accepts.

        patience_seconds: how long to wait for an embedder without answers.
        """
        self._stub = stub
        self._calls = calls
        self._checksum = checksum
        self._dimension = dimension
        self._max_image_bytes = max_image_bytes
        self._patience_seconds = patience_seconds
        self._ids = itertools.count(1)
        # All images without a result, and those of them that no call has.
        self._pending: dict[int, _Pending] = {}
        self._unsent: deque[_Pending] = deque()
        self._changed = asyncio.Event()
        self._failure: ServiceError | None = None
        self._open_calls = 0
        # When a result last came, or when the first image after a pause was added.
        self._last_progress = 0.0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["EmbeddingStream"]:
        """Connect a stream while entered."""
        async with in_background(self._run(), "embedding-stream"):
            yield self

    async def embed(self, image: bytes, views: int = 0) -> Embedded:
        """Return the vector of an encoded image and of `views` augmented views of it.

        Raises ImageFailed for a bad image. Raises FailedPrecondition (backbone_changed) when another backbone is
        served, and Unavailable when the embedder stays unavailable; after these two the stream cannot be used.
        """
        return await self._embed(image, views, whole=True)

    async def embed_views(self, image: bytes, views: int) -> Matrix:
        """Return the vectors [views, dim] of augmented views of an encoded image. Raises as `embed` does."""
        return (await self._embed(image, views, whole=False)).views

    async def _embed(self, image: bytes, views: int, *, whole: bool) -> Embedded:
        if self._failure is not None:
            raise self._failure
        if len(image) > self._max_image_bytes:
            # gRPC would end the whole call, and with it the other images.
            limit = f"{self._max_image_bytes / (1 << 20):g} MiB"
            raise ImageFailed(Reason.IMAGE_TOO_LARGE, f"The image is larger than {limit}, the limit of the embedder.")
        if not self._pending:
            self._last_progress = time.monotonic()
        pending = _Pending(next(self._ids), image, views, whole, asyncio.get_running_loop().create_future())
        self._pending[pending.id] = pending
        self._unsent.append(pending)
        self._changed.set()
        try:
            return await pending.result
        finally:
            del self._pending[pending.id]

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(CALLS):
                    group.create_task(self._keep_calling(number))
        except* ServiceError as errors:
            first = errors.exceptions[0]
            assert isinstance(first, ServiceError), "the tasks raise no groups"  # noqa: S101
            self._fail(first)
        except* Exception as errors:
            log.error("embedding_stream_failed", exc_info=errors)
            self._fail(Unavailable("The connection to the embedder failed.", code="embedder_unavailable"))

    async def _keep_calling(self, number: int) -> None:
        """Open one call after the other. Raises the error that ends the whole stream."""
        backoff = Backoff()
        while True:
            await self._until(lambda: bool(self._unsent) and len(self._pending) > number * IMAGES_PER_CALL)
            began = time.monotonic()
            error = await self._call()
            if self._last_progress > began or error is None:
                backoff.reset()
            if error is None:
                continue
            if not isinstance(error, TRANSIENT):
                raise error
            if time.monotonic() - self._last_progress > self._patience_seconds:
                raise Unavailable("The embedder is not available.", code="embedder_unavailable") from error
            log.warning("embedder_wait", code=error.code, waiting=len(self._pending))
            await asyncio.sleep(backoff.delay(error.retry_after))

    async def _call(self) -> ServiceError | None:
        """Make one call from beginning to end. Returns its error, or None if we ended it."""
        opened = _OpenCall(time.monotonic() + MAX_AGE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 (no secret)
        self._open_calls += 1
        try:
            with self._calls.call("EmbedStream") as metadata:
                call = self._stub.EmbedStream(self._requests(opened), metadata=metadata)
                try:
                    return await self._read_results(call, opened)
                finally:
                    call.cancel()
        except TimeoutError:
            return Unavailable("The embedder is not responding.", code="embedder_unavailable") if opened.sent else None
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error, upstream="embedder")
        except asyncio.CancelledError:
            if _is_this_task_cancelled():
                raise
            # gRPC raises the same error when it ends a call by itself.
            return _ended_early()
        finally:
            self._open_calls -= 1
            opened.ended = True
            self._unsent.extendleft(
                reversed([pending for pending in opened.sent.values() if not pending.result.done()])
            )
            self._changed.set()

    async def _read_results(self, call: "_Call", opened: _OpenCall) -> ServiceError | None:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                response = await call.read()
            if not isinstance(response, embedder_pb2.EmbedStreamResponse):
                # The end of the stream, which is no error once the call is old enough.
                return None if time.monotonic() >= opened.end else _ended_early()
            self._last_progress = time.monotonic()
            pending = opened.sent.pop(response.item_id, None)
            if pending is not None:
                self._settle(pending, response)
            self._changed.set()

    async def _requests(self, opened: _OpenCall) -> AsyncIterator[embedder_pb2.EmbedStreamRequest]:
        while True:
            try:
                async with asyncio.timeout(opened.end - time.monotonic()):
                    await self._until(lambda: opened.ended or (bool(self._unsent) and self._has_room(opened)))
            except TimeoutError:
                return
            if opened.ended:
                return
            pending = self._unsent.popleft()
            if pending.id in self._pending and not pending.result.done():
                opened.sent[pending.id] = pending
                yield embedder_pb2.EmbedStreamRequest(
                    item_id=pending.id,
                    image=pending.image,
                    backbone_checksum=self._checksum,
                    views=_views(pending) if pending.views else None,
                    miniature=pending.whole,
                )

    def _has_room(self, opened: _OpenCall) -> bool:
        """Return whether a call has less than its share, so that a slow replica does not hoard images."""
        return len(opened.sent) <= len(self._pending) // max(self._open_calls, 1)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _settle(self, pending: _Pending, response: embedder_pb2.EmbedStreamResponse) -> None:
        if pending.result.done():
            return
        if response.WhichOneof("outcome") != "embedding":
            pending.result.set_exception(_image_failed(response.error.code, response.error.message))
            return
        embedded = _embedded(response.embedding, self._dimension, pending)
        if embedded is None:
            failure = ImageFailed(Reason.EMBEDDING_FAILED, "The embedder returned an invalid vector.")
            pending.result.set_exception(failure)
        else:
            pending.result.set_result(embedded)

    def _fail(self, error: ServiceError) -> None:
        self._failure = error
        for pending in self._pending.values():
            if not pending.result.done():
                pending.result.set_exception(error)


def _views(pending: _Pending) -> embedder_pb2.Views:
    return embedder_pb2.Views(count=pending.views, seed=VIEW_SEED, only=not pending.whole)


def _embedded(answer: embedder_pb2.Embedding, dimension: int, pending: _Pending) -> Embedded | None:
    """Return the answer's vector [dimension] and views [views, dimension]; None if they are malformed or not finite."""
    vector = np.frombuffer(answer.vector, dtype="<f4") if pending.whole else np.zeros(dimension, np.float32)
    rows = [vector, *(np.frombuffer(row, dtype="<f4") for row in answer.views)]
    if len(rows) != 1 + pending.views or any(row.shape != (dimension,) or not np.isfinite(row).all() for row in rows):
        return None
    small = Miniature(answer.miniature.width, answer.miniature.pixels)
    miniature = small if answer.HasField("miniature") and small.is_valid else None
    return Embedded(rows[0], np.stack(rows)[1:], tuple(answer.warnings), miniature)


def _is_this_task_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _ended_early() -> ServiceError:
    return Unavailable("The embedder ended the stream.", code="embedder_unavailable")


def _image_failed(code: str, message: str) -> ImageFailed:
    try:
        return ImageFailed(Reason(code), message)
    except ValueError:
        return ImageFailed(Reason.EMBEDDING_FAILED, f"{code}: {message}")
