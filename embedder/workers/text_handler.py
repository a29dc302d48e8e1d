"""A worker that embeds texts."""

import time

import numpy as np

from embedder.backbones.source import BackboneSource
from embedder.backbones.text_tower import TextTower
from embedder.engines.engine import EngineError
from embedder.workers.messages import WorkRequest, WorkResult

CANARY = "canary"
TRUNCATED = "truncated"


class TextHandler:
    """Embeds one text after the other."""

    def __init__(self, source: BackboneSource, tower: TextTower) -> None:
        """Check the tower with a known text. Raises EngineError."""
        self._tower = tower
        vectors = tower.embed(CANARY).vectors
        if vectors.shape != (1, source.dimension) or not np.isfinite(vectors).all():
            raise EngineError(
                f"the text tower of {source.name!r} returns vectors of {vectors.shape[-1]} dimensions, and images have "
                f"{source.dimension}, or they are not finite"
            )

    def handle(self, request: WorkRequest) -> WorkResult:
        """Return the vector, or the code of what failed."""
        started = time.perf_counter()
        text = request.image.decode()
        try:
            embedded = self._tower.embed(text)
        except (RuntimeError, MemoryError) as error:
            return WorkResult(request.id, code="embedding_failed", message=type(error).__name__)
        return WorkResult(
            request.id,
            embedded.vectors.astype("<f4", copy=False).tobytes(),
            warnings=[TRUNCATED] if embedded.read_characters < len(text) else [],
            read_characters=min(embedded.read_characters, len(text)),
            forward_seconds=time.perf_counter() - started,
            batch_size=1,
        )
