"""A worker that only decodes, into slots of the arena."""

import time

from embedder.canary import canary_image
from embedder.decoding.image_error import ImageError
from embedder.workers.arena import Arena
from embedder.workers.limited_decoding import LimitedDecoding
from embedder.workers.messages import WorkRequest, WorkResult


class DecodeHandler:
    """Decodes an image and its views into the slots of the request."""

    def __init__(self, decoding: LimitedDecoding, arena: Arena) -> None:
        self._decoding = decoding
        self._arena = arena
        self._canary = canary_image()

    def handle(self, request: WorkRequest) -> WorkResult:
        """Return a result without vectors. The slots are filled if it has no code."""
        started = time.perf_counter()
        try:
            image = self._canary if request.canary else request.image
            inputs = self._decoding.inputs(request, image)
        except ImageError as error:
            return WorkResult(request.id, code=error.code, message=error.message)
        for slot, pixels in zip(request.slots, inputs.pixels, strict=True):
            self._arena.write(slot, pixels)
        return WorkResult(
            request.id,
            miniature=inputs.grey_values,
            miniature_width=inputs.grey_width,
            warnings=inputs.warnings,
            decode_seconds=time.perf_counter() - started,
        )
