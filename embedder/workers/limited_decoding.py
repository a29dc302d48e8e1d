"""Decode the images of requests, each within a limit of CPU time."""

from embedder.decoding.decoder import Decoder
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import Inputs, prepare_inputs
from embedder.workers.cpu_limit import OutOfTime, cpu_limit
from embedder.workers.current_request import CurrentRequest
from embedder.workers.messages import WorkRequest


class LimitedDecoding:
    """Decodes images. search_seconds, bulk_seconds: the CPU time that one may take."""

    def __init__(
        self, decoder: Decoder, current: CurrentRequest, *, search_seconds: float, bulk_seconds: float
    ) -> None:
        """current: where to note which request is being decoded."""
        self._decoder = decoder
        self._current = current
        self._search_seconds = search_seconds
        self._bulk_seconds = bulk_seconds

    def inputs(self, request: WorkRequest, image: bytes) -> Inputs:
        """Return what the backbone takes of an image and of the views that the request asks for.

        Raises ImageError. Ends the process if a decoder does not return in time.
        """
        seconds = self._search_seconds if request.urgent else self._bulk_seconds
        self._current.note(request.id)
        try:
            with cpu_limit(seconds):
                return prepare_inputs(
                    self._decoder,
                    image,
                    request.views,
                    request.seed,
                    request.region,
                    whole=request.whole,
                    with_miniature=request.miniature,
                )
        except OutOfTime:
            raise too_slow(seconds) from None
        finally:
            self._current.note(0)


def too_slow(seconds: float) -> ImageError:
    """Return the error of an image that took longer than this to decode."""
    message = f"The image was not decoded within {seconds:g} seconds of CPU time."
    return ImageError("image_too_slow", f"{message} Send a smaller or simpler version of it.")
