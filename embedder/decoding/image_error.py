"""The error of an image that cannot be embedded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

ImageErrorCode = Literal["not_an_image", "decode_error", "image_too_large", "image_too_slow"]


class ImageError(Exception):
    """An image that cannot be embedded. `code` is stable and part of the protocol; `message` is for the caller."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ImageErrorCode = code
        self.message = message


@contextmanager
def raising_image_error(problem: str) -> Iterator[None]:
    """Raise ImageError in place of whatever the block raises; `problem` completes the message for the caller.

    Pillow and its plugins do not document what a damaged file makes them raise. All of it must cost one image only,
    and never the worker.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        message = "The image could not be decoded: it needs more memory than the limit allows."
        raise ImageError("image_too_large", message) from None
    except Exception:
        raise ImageError("decode_error", f"The image could not be decoded: {problem}.") from None
