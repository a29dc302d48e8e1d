"""What can be wrong with an image."""

from typing import Literal

ImageErrorCode = Literal["not_an_image", "decode_error", "image_too_large"]


class ImageError(Exception):
    """An image that gives no vector. `code` is stable and part of the protocol; `message` is for the caller."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ImageErrorCode = code
        self.message = message
