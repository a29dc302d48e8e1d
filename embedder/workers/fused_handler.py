"""A worker that decodes and infers, which is fastest on CPUs."""

import time
from collections.abc import Iterator

import numpy as np

from embedder.canary import canary_image, check_canary
from embedder.decoding.image_error import ImageError
from embedder.engines.engine import Engine, EngineError, Pixels, Vectors
from embedder.workers.limited_decoding import LimitedDecoding
from embedder.workers.messages import WorkRequest, WorkResult
from servicekit.process.fault_points import FaultPoint

# Larger batches are no faster on CPUs, and a search would have to wait for all of them.
MAX_FORWARD = 8


class FusedHandler:
    """Embeds an image and its views."""

    def __init__(self, decoding: LimitedDecoding, engine: Engine, expected: Vectors | None) -> None:
        """expected: the vector of the canary, if it is known."""
        self._decoding = decoding
        self._engine = engine
        self._expected = expected
        self._canary = canary_image()

    def handle(self, request: WorkRequest) -> WorkResult:
        """Return the vectors, or the code of what failed."""
        started = time.perf_counter()
        try:
            image = self._canary if request.canary else request.image
            inputs = self._decoding.inputs(request, image)
        except ImageError as error:
            return WorkResult(request.id, code=error.code, message=error.message)
        pixels = np.stack(inputs.pixels)
        decoded = time.perf_counter()
        FaultPoint.DECODED.reach()
        try:
            vectors = np.concatenate([self._engine.embed(part, all_cores=request.all_cores) for part in _parts(pixels)])
            if request.canary:
                check_canary(vectors, self._expected)
        except (EngineError, RuntimeError, MemoryError) as error:
            return WorkResult(request.id, code="embedding_failed", message=type(error).__name__)
        return WorkResult(
            request.id,
            vectors.astype("<f4", copy=False).tobytes(),
            inputs.grey_values,
            inputs.grey_width,
            warnings=inputs.warnings,
            decode_seconds=decoded - started,
            forward_seconds=time.perf_counter() - decoded,
            batch_size=len(pixels),
        )


def _parts(pixels: Pixels) -> Iterator[Pixels]:
    for start in range(0, len(pixels), MAX_FORWARD):
        yield pixels[start : start + MAX_FORWARD]
