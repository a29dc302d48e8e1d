"""The use case of the embedder, free of any transport: an encoded image or a text in, its vectors out."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.dispatcher import Dispatcher
from embedder.scheduling.queued_image import LaneName, QueuedImage
from embedder.scheduling.text_queue import TextQueue
from embedder.workers.messages import WorkResult
from servicekit.errors import FailedPrecondition, InvalidRequest, ServiceError, TooLarge, Unavailable
from servicekit.image_region import Region
from servicekit.request_context import remaining
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_TEXT_CHARACTERS = 2000
# To hash a larger image would hold up other calls for more than a millisecond.
HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ServedBackbone:
    """The backbone, and where and how it runs."""

    backbone: str
    checksum: str
    dimension: int
    device: str
    engine: str
    pooling: str


@dataclass(frozen=True)
class RequestLimits:
    """Limits of one image. seconds, bulk_seconds: timeouts in the interactive and in the bulk lane."""

    max_image_bytes: int
    max_views: int
    seconds: float
    bulk_seconds: float


class EmbeddingService:
    """Checks requests, embeds images and counts their outcomes."""

    def __init__(
        self,
        served: ServedBackbone,
        dispatcher: Dispatcher,
        limits: RequestLimits,
        is_ready: Callable[[], bool],
        metrics: EmbedderMetrics,
        texts: TextQueue | None = None,
    ) -> None:
        """texts: None if the backbone has no text tower."""
        self.served = served
        self._texts = texts
        self._metrics = metrics
        self._is_ready = is_ready
        self._dispatcher = dispatcher
        self._limits = limits

    @property
    def embeds_texts(self) -> bool:
        """Whether the backbone has a text tower."""
        return self._texts is not None

    @property
    def is_ready(self) -> bool:
        """Whether it embeds images: there is a worker, and the last image or canary was embedded."""
        return self._is_ready()

    @property
    def max_image_bytes(self) -> int:
        """The largest encoded image that is accepted."""
        return self._limits.max_image_bytes

    def check_checksum(self, expected: str) -> None:
        """Raise FailedPrecondition, backbone_changed, unless `expected` is empty or the checksum of the backbone."""
        if expected and expected != self.served.checksum:
            raise FailedPrecondition("The embedder now serves a different backbone.", code="backbone_changed")

    def check_views(self, count: int) -> None:
        """Raise InvalidRequest if a request asks for too many views."""
        if count > self._limits.max_views:
            raise InvalidRequest(f"views.count is {count}. At most {self._limits.max_views} views are allowed.")

    async def embed(
        self,
        image: bytes,
        lane: LaneName,
        *,
        views: int = 0,
        seed: int = 0,
        region: Region | None = None,
        whole: bool = True,
        miniature: bool = False,
    ) -> WorkResult:
        """Return the result of an image, which has a code and a message for the caller if it could not be embedded.

        region: the part to embed; None: all of it. whole: whether to embed the image itself, or its views alone.
        miniature: whether to return one, too. Raises InvalidRequest (invalid_region), Overloaded and Unavailable
        (interactive lane only) and DeadlineExceeded.
        """
        outcome = "failed"
        try:
            result = await self._embed(image, lane, views, seed, region, whole=whole, miniature=miniature)
            outcome = result.code or "embedded"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self._metrics.images.labels(lane, outcome).inc()
        if result.code == "embedding_failed":
            log.warning("inference_failed", lane=lane, reason=result.message)
            return replace(result, message="The image could not be embedded: the inference engine failed.")
        return result

    async def embed_text(self, text: str, checksum: str) -> WorkResult:
        """Return the result of a text, which has a code and a message if it could not be embedded.

        checksum: of the backbone that must embed it; empty: any. Raises FailedPrecondition (text_not_supported,
        backbone_changed), InvalidRequest (invalid_text), Overloaded, Unavailable and DeadlineExceeded.
        """
        if self._texts is None:
            message = "The backbone cannot embed texts: it has no text tower, or no tokenizer."
            raise FailedPrecondition(message, code="text_not_supported")
        self.check_checksum(checksum)
        if not text.strip() or len(text) > MAX_TEXT_CHARACTERS:
            raise InvalidRequest(f"A text must have 1 to {MAX_TEXT_CHARACTERS} characters.", code="invalid_text")
        outcome = "failed"
        try:
            result = await self._texts.embed(text, remaining(self._limits.seconds))
            outcome = result.code or ("truncated" if result.warnings else "embedded")
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self._metrics.texts.labels(outcome).inc()
        if result.code is None:
            return result
        log.warning("text_inference_failed", reason=result.message)
        return replace(result, message="The text could not be embedded: the inference engine failed.")

    async def _embed(
        self,
        image: bytes,
        lane: LaneName,
        views: int,
        seed: int,
        region: Region | None,
        *,
        whole: bool,
        miniature: bool,
    ) -> WorkResult:
        if region is not None and (problem := region.problem()):
            raise InvalidRequest(f"The region is not valid. {problem}", code="invalid_region")
        if len(image) > self._limits.max_image_bytes:
            limit = f"{self._limits.max_image_bytes / (1 << 20):g} MiB"
            return WorkResult(0, code="image_too_large", message=f"The image is larger than {limit}.")
        if views:
            # Views depend on the image too, so that two images with one seed are not cropped and turned alike.
            is_large = len(image) > HASHED_AT_ONCE
            seed = await asyncio.to_thread(_seed_for, image, seed) if is_large else _seed_for(image, seed)
        if lane == "interactive" and not self._is_ready():
            raise Unavailable("The embedder is not ready. Try again in a moment.", code="embedder_not_ready")
        seconds = remaining(self._limits.seconds if lane == "interactive" else self._limits.bulk_seconds)
        deadline = time.monotonic() + seconds
        queued = QueuedImage(
            image, lane, deadline, views=views, seed=seed, region=region, whole=whole, miniature=miniature
        )
        return await self._dispatcher.embed(queued)


def _seed_for(image: bytes, seed: int) -> int:
    """Return the seed of the views of an image."""
    hashed = hashlib.sha256(image)
    hashed.update(seed.to_bytes(8, "little"))
    return int.from_bytes(hashed.digest()[:8], "little")


def error_of(result: WorkResult) -> ServiceError:
    """Return the service error of a result that has a code."""
    if result.code == "image_too_large":
        return TooLarge(result.message, code=result.code)
    if result.code == "embedding_failed":
        return Unavailable(result.message, code=result.code)
    return InvalidRequest(result.message, code=result.code)
