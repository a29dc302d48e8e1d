"""Convert every mode that a decoder can return to RGB: 16-bit and floating-point grey, CMYK, palettes, transparency."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from embedder.decoding.image_error import ImageError

DEEP_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
WHITE = (255, 255, 255)
MAX_16_BIT = 65535


@dataclass(frozen=True)
class GreyRange:
    """The values of a deep greyscale image that become black and white."""

    black: float
    white: float


def grey_range(image: Image.Image) -> GreyRange | None:
    """Return the range of a loaded greyscale image of more than 8 bits, or None for any other image.

    Raises ImageError if no pixel is finite.
    """
    if image.mode not in DEEP_GREY_MODES:
        return None
    if image.mode.startswith("I;16"):
        return GreyRange(0, MAX_16_BIT)
    pixels = np.asarray(image)
    finite = pixels[np.isfinite(pixels)] if image.mode == "F" else pixels
    if finite.size == 0:
        raise ImageError("decode_error", "The image could not be decoded: none of its pixels is a finite number.")
    low, high = float(finite.min()), float(finite.max())
    # Writers of floating-point images use 0 to 1, 0 to 255 or 0 to 65535.
    usual = 1.0 if image.mode == "F" and high <= 1 else 255.0 if image.mode == "F" and high <= 255 else MAX_16_BIT
    return GreyRange(0, usual) if low >= 0 and high <= usual else GreyRange(low, high)


def to_rgb(image: Image.Image, grey: GreyRange | None) -> Image.Image:
    """Return the image in RGB, with transparency on white and deep greyscale scaled from `grey` to 8 bits."""
    if grey is not None:
        image = _scale_to_8_bits(image, grey)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _scale_to_8_bits(image: Image.Image, grey: GreyRange) -> Image.Image:
    span = grey.white - grey.black or 1.0
    pixels = np.asarray(image).astype(np.float32)
    scaled = np.nan_to_num((pixels - grey.black) * (255.0 / span), nan=0.0, posinf=255.0, neginf=0.0)
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, WHITE)
    flat.paste(image, mask=image.getchannel("A"))
    return flat
