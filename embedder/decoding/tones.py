"""Any mode that a decoder gives, as RGB: 16-bit, CMYK, palettes, transparency."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from embedder.decoding.image_error import ImageError

WIDE_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
WHITE = (255, 255, 255)
MAX_16_BIT = 65535


@dataclass(frozen=True)
class ToneRange:
    """The values of a deep greyscale image that become black and white."""

    black: float
    white: float


def tone_range(image: Image.Image) -> ToneRange | None:
    """How to scale an image of more than 8 bits; None for any other. The image must be loaded."""
    if image.mode not in WIDE_MODES:
        return None
    if image.mode.startswith("I;16"):
        return ToneRange(0, MAX_16_BIT)
    pixels = np.asarray(image)
    finite = pixels[np.isfinite(pixels)] if image.mode == "F" else pixels
    if finite.size == 0:
        raise ImageError("decode_error", "The image has no finite pixel.")
    low, high = float(finite.min()), float(finite.max())
    usual = 1.0 if image.mode == "F" and high <= 1 else 255.0 if image.mode == "F" and high <= 255 else MAX_16_BIT
    return ToneRange(0, usual) if low >= 0 and high <= usual else ToneRange(low, high)


def to_rgb(image: Image.Image, tones: ToneRange | None) -> Image.Image:
    """The image in RGB: transparency on white, deep greyscale scaled by `tones`."""
    if tones is not None:
        image = _scaled(image, tones)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _scaled(image: Image.Image, tones: ToneRange) -> Image.Image:
    span = tones.white - tones.black or 1.0
    pixels = np.asarray(image).astype(np.float32)
    scaled = np.nan_to_num((pixels - tones.black) * (255.0 / span), nan=0.0, posinf=255.0, neginf=0.0)
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, WHITE)
    flat.paste(image, mask=image.getchannel("A"))
    return flat
