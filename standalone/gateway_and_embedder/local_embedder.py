"""The embedder in the gateway's own process, as the gateway asks for it."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from embedder.app import embedding
from embedder.config import EmbedderSettings
from embedder.service import EmbeddingService, error_of
from gateway.upstreams.embedder import TRUNCATED, Backbone, EmbeddedText, Vector, public_name
from servicekit.errors import ServiceError, Unavailable
from servicekit.image_region import Region
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import new_registry
from servicekit.telemetry.tracing import child_span

log = get_logger(__name__)


class LocalEmbedder:
    """Answers as `gateway.upstreams.embedder.QueryEmbedder` does, by calls of the service in this process."""

    def __init__(self) -> None:
        self._running: EmbeddingService | None = None

    async def run(self, settings: EmbedderSettings, stop: asyncio.Event) -> None:
        """Run the embedder, its gRPC server included, until `stop` is set. Raises StartupError or SettingsError."""
        async with embedding(settings, new_registry("embedder", of_process=False)) as running:
            # As `run_service` does for what was loaded before.
            gc.freeze()
            self._running = running.service
            await stop.wait()

    async def embed(self, image: bytes, backbone: str, region: Region | None = None) -> Vector:
        """Return the vector [dim] of an encoded image. See `QueryEmbedder.embed`."""
        with _errors(), child_span("embed"):
            service = self._service()
            service.check_checksum(backbone)
            result = await service.embed(image, "interactive", region=region)
        if result.code is not None:
            raise error_of(result)
        return np.frombuffer(result.vectors, dtype="<f4")

    async def embed_text(self, text: str, backbone: str) -> EmbeddedText:
        """Return the vector of a text. See `QueryEmbedder.embed_text`."""
        with _errors(), child_span("embed text"):
            result = await self._service().embed_text(text, backbone)
        if result.code is not None:
            raise error_of(result)
        vector = np.frombuffer(result.vectors, dtype="<f4")
        return EmbeddedText(vector, result.read_characters, TRUNCATED in result.warnings)

    async def served_backbone(self) -> str | None:
        """Return the checksum of the backbone that is served; None until the embedder has started."""
        return None if self._running is None else self._running.served.checksum

    async def served(self) -> Backbone | None:
        """Return the backbone that is served; None until the embedder has started."""
        if self._running is None:
            return None
        served = self._running.served
        return Backbone(public_name(served.backbone), served.checksum, served.dimension, self._running.embeds_texts)

    async def check(self) -> None:
        """Raise ServiceError unless images can be embedded."""
        if not self._service().is_ready:
            raise Unavailable("The embedder is not ready.", code="embedder_unavailable")

    def _service(self) -> EmbeddingService:
        if self._running is None:
            raise Unavailable("The embedder is not available.", code="embedder_unavailable")
        return self._running


@contextmanager
def _errors() -> Iterator[None]:
    """Answer a defect of the embedder as that of another process: log it, and tell the caller nothing of it."""
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:
        log.error("embedding_failed", exc_info=error)
        raise Unavailable("The embedder is not available.", code="embedder_unavailable") from error
