"""The use case: an encoded image in, its vectors out. Knows no transport."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.dispatcher import Dispatcher
from embedder.scheduling.work_item import Item, LaneName, Outcome
from servicekit.errors import FailedPrecondition, InvalidRequest, ServiceError, TooLarge, Unavailable
from servicekit.request_context import remaining


@dataclass(frozen=True)
class Served:
    """What is served: the backbone, and where and how it runs."""

    backbone: str
    checksum: str
    dimension: int
    device: str
    engine: str
    pooling: str


@dataclass(frozen=True)
class RequestLimits:
    """What a request may ask for, and the seconds that an image may wait and take in each lane."""

    max_image_bytes: int
    max_views: int
    seconds: float
    bulk_seconds: float


class Embedding:
    """Checks requests, has them embedded, and counts what became of each image."""

    def __init__(
        self,
        served: Served,
        dispatcher: Dispatcher,
        limits: RequestLimits,
        is_ready: Callable[[], bool],
        metrics: EmbedderMetrics,
    ) -> None:
        self.served = served
        self._metrics = metrics
        self._is_ready = is_ready
        self._dispatcher = dispatcher
        self._limits = limits

    def check_checksum(self, expected: str) -> None:
        """Raises FailedPrecondition, backbone_changed, unless `expected` is empty or that of the backbone served."""
        if expected and expected != self.served.checksum:
            raise FailedPrecondition("Another backbone is served now.", code="backbone_changed")

    def check_views(self, count: int) -> None:
        """Raises InvalidRequest for more views than are allowed."""
        if count > self._limits.max_views:
            raise InvalidRequest(f"At most {self._limits.max_views} views of an image can be asked for.")

    async def embed(self, image: bytes, lane: LaneName, *, views: int = 0, seed: int = 0) -> Outcome:
        """The outcome of an image.

        Raises Overloaded and Unavailable (interactive lane only), DeadlineExceeded.
        """
        became = "failed"
        try:
            outcome = await self._outcome(image, lane, views, seed)
            became = outcome.code or "embedded"
        except asyncio.CancelledError:
            became = "cancelled"
            raise
        except ServiceError as error:
            became = error.code
            raise
        finally:
            self._metrics.images.labels(lane, became).inc()
        return outcome

    async def _outcome(self, image: bytes, lane: LaneName, views: int, seed: int) -> Outcome:
        if len(image) > self._limits.max_image_bytes:
            megabytes = self._limits.max_image_bytes / (1 << 20)
            return Outcome(code="image_too_large", message=f"The image has more than {megabytes:g} MiB.")
        if views:
            # Two images with one seed get different views, the same image always the same.
            seed = int.from_bytes(hashlib.sha256(image + seed.to_bytes(8, "little")).digest()[:8], "little")
        if lane == "interactive" and not self._is_ready():
            raise Unavailable("The embedder is not ready.", code="embedder_not_ready")
        seconds = remaining(self._limits.seconds if lane == "interactive" else self._limits.bulk_seconds)
        return await self._dispatcher.embed(Item(image, lane, time.monotonic() + seconds, views=views, seed=seed))


def error_of(outcome: Outcome) -> ServiceError:
    """The error of the tree for an outcome without vectors."""
    if outcome.code == "image_too_large":
        return TooLarge(outcome.message, code=outcome.code)
    if outcome.code == "embedding_failed":
        return Unavailable("The image could not be embedded.", code=outcome.code)
    return InvalidRequest(outcome.message, code=outcome.code)
