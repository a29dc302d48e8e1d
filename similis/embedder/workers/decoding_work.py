"""A worker that only decodes: into slots of the arena."""

import time

from similis.embedder.canary import canary_image
from similis.embedder.decoding.decode import Decoder
from similis.embedder.decoding.fit import fit
from similis.embedder.decoding.image_error import ImageError
from similis.embedder.decoding.views import augmented_views
from similis.embedder.workers.arena import Arena
from similis.embedder.workers.lifeline import resident_bytes
from similis.embedder.workers.wire import Job, Result


class DecodingWork:
    """Answers jobs one after the other; the slots of a job are filled when its result has no code."""

    def __init__(self, decoder: Decoder, arena: Arena) -> None:
        self._decoder = decoder
        self._arena = arena
        self._canary = canary_image()

    def answer(self, job: Job, image: bytes) -> tuple[Result, bytes]:
        """The outcome of decoding; no vectors."""
        started = time.perf_counter()
        try:
            decoded = self._decoder.decode(self._canary if job.canary else image)
            views = augmented_views(decoded, job.views, job.seed) if job.views else []
            for slot, view in zip(job.slots, (decoded, *views), strict=True):
                self._arena.write(slot, fit(view, self._decoder.preprocessing))
        except ImageError as error:
            return Result(job.id, error.code, error.message, memory_bytes=resident_bytes()), b""
        seconds = time.perf_counter() - started
        return Result(job.id, decode_seconds=seconds, memory_bytes=resident_bytes()), b""
