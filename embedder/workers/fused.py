"""A worker that decodes and infers: the fastest arrangement on processors."""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embedder.canary import MIN_COSINE, canary_image, cosine
from embedder.decoding.decoder import Decoder
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.engine import Engine, EngineError, Pixels, Vectors
from embedder.workers.memory import resident_bytes
from embedder.workers.wire import Job, Result

# Images of one forward pass. More of them are no faster on processors, and a search would wait for all.
MAX_FORWARD = 8


class FusedWork:
    """Answers jobs one after the other."""

    def __init__(self, decoder: Decoder, engine: Engine, expected: NDArray[np.float32] | None) -> None:
        self._decoder = decoder
        self._engine = engine
        self._expected = expected
        self._canary = canary_image()

    def answer(self, job: Job, image: bytes) -> tuple[Result, bytes]:
        """The outcome of a job, and its vectors as bytes. Raises nothing that an image or the engine can cause."""
        started = time.perf_counter()
        try:
            encoded = self._canary if job.canary else image
            pixels = np.stack(prepare_inputs(self._decoder, encoded, job.views, job.seed))
        except ImageError as error:
            return Result(job.id, error.code, error.message, memory_bytes=resident_bytes()), b""
        decoded = time.perf_counter()
        try:
            vectors = np.concatenate([self._engine.embed(part, all_cores=job.wide) for part in _parts(pixels)])
            if job.canary:
                check_canary(vectors, self._expected)
        except (EngineError, RuntimeError, MemoryError) as error:
            return Result(job.id, "embedding_failed", type(error).__name__, memory_bytes=resident_bytes()), b""
        result = Result(
            job.id,
            decode_seconds=decoded - started,
            forward_seconds=time.perf_counter() - decoded,
            batch=len(pixels),
            memory_bytes=resident_bytes(),
        )
        return result, vectors.astype("<f4", copy=False).tobytes()


def _parts(pixels: Pixels) -> Iterator[Pixels]:
    for start in range(0, len(pixels), MAX_FORWARD):
        yield pixels[start : start + MAX_FORWARD]


def check_canary(vectors: Vectors, expected: NDArray[np.float32] | None) -> None:
    """Raises EngineError when the canary's vector is not `expected`, or nonsense where nothing is expected."""
    if expected is None:
        if not np.isfinite(vectors).all() or not vectors.any():
            raise EngineError("the engine gives no finite vectors")
    elif (found := cosine(vectors[0], expected)) < MIN_COSINE:
        raise EngineError(f"the engine gives other vectors than the source model: cosine {found:.4f}")
