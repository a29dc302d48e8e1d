"""A worker that only decodes: into slots of the arena."""

import time

from embedder.canary import canary_image
from embedder.decoding.decoder import Decoder
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import prepare_inputs
from embedder.workers.arena import Arena
from embedder.workers.memory import resident_bytes
from embedder.workers.wire import Job, Result


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
            encoded = self._canary if job.canary else image
            inputs = prepare_inputs(self._decoder, encoded, job.views, job.seed)
        except ImageError as error:
            return Result(job.id, error.code, error.message, memory_bytes=resident_bytes()), b""
        for slot, pixels in zip(job.slots, inputs, strict=True):
            self._arena.write(slot, pixels)
        seconds = time.perf_counter() - started
        return Result(job.id, decode_seconds=seconds, memory_bytes=resident_bytes()), b""
