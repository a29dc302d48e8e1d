"""Make every image that a decoder can return one of 8 bits without transparency."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from embedder.decoding.formats.tiff_tags import declared_maximum, is_white_zero, no_data_of, sample_bits
from embedder.decoding.sample_range import SampleRange, Samples, extent_of, range_of

WIDE_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
GREY_MODES = (*WIDE_GREY_MODES, "1", "L", "LA", "La")
ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
# Their colours are converted once the image is reduced.
LATER_CONVERTED_MODES = ("CMYK", "LAB")
WHITE = (255, 255, 255)
BAND_PIXELS = 4_000_000


@dataclass(frozen=True)
class Flattening:
    """How the parts of one image are flattened: put on white, and scaled to 8 bits.

    mode: of the result, RGB, CMYK or LAB. scale: the range of wide grey, None for another image. transparent: the wide
    grey that stands for no colour, if there is one.
    """

    mode: str
    scale: SampleRange | None = None
    transparent: int | None = None

    @classmethod
    def of(cls, image: Image.Image, declared: float = 0.0) -> "Flattening":
        """Return how to flatten a loaded image. declared: its highest sample by its header, if that is known.

        Raises ImageError if no pixel of wide grey is a finite number.
        """
        if image.mode not in WIDE_GREY_MODES:
            return cls(image.mode if image.mode in LATER_CONVERTED_MODES else "RGB")
        sample_type = np.asarray(image.crop((0, 0, 1, 1))).dtype
        scale = range_of(
            extent_of(lambda: _bands(image), image.width * image.height, no_data_of(image)),
            sample_type,
            bits=sample_bits(image) or 8 * sample_type.itemsize,
            declared=max(declared, declared_maximum(image)),
        )
        transparent = image.info.get("transparency")
        return cls(
            "RGB",
            scale.inverted if is_white_zero(image) else scale,
            transparent if isinstance(transparent, int) else None,
        )

    def apply(self, part: Image.Image) -> Image.Image:
        """Return a part of the image flattened."""
        if self.scale is not None:
            samples = np.asarray(part)
            grey = self.scale.to_8_bits(samples)
            if self.transparent is not None:
                grey[samples == self.transparent] = 255
            return Image.fromarray(grey).convert("RGB")
        if part.mode in ALPHA_MODES or "transparency" in part.info:
            # Pillow converts grey that is multiplied by alpha to this mode only.
            part = part.convert("LA") if part.mode == "La" else part
            return _on_white(part.convert("RGBA"))
        return part if part.mode == self.mode else part.convert(self.mode)


def _bands(image: Image.Image) -> Iterator[Samples]:
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, WHITE)
    flat.paste(image, mask=image.getchannel("A"))
    return flat
