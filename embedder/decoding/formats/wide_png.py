"""Colour PNGs of 16 bits in which only the lower bits are used, of which Pillow keeps the upper 8."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, PngImagePlugin

from embedder.decoding.sample_range import MARKED_SHARE, Samples, extent_of, range_of

# Pillow's unpackers for colour of 16 bits, and others that return the lower bytes of the same data. The one for grey
# with alpha is four bytes a pixel, so the lower bytes are the second and the fourth channel of an image of 8 bits.
LOWER_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
LOWER_CHANNELS = {"RGB;16B": [0, 1, 2], "RGBA;16B": [0, 1, 2, 3], "LA;16B": [1, 1, 1, 3]}
# An upper byte from here on belongs to an image that uses all bits.
USES_ALL_BITS = 64
BAND_PIXELS = 1_000_000
COLOURS = 3


def unpacker_of(image: Image.Image) -> str | None:
    """Return the name of Pillow's unpacker for an opened PNG if it drops lower bytes, otherwise None."""
    if not isinstance(image, PngImagePlugin.PngImageFile) or len(image.tile) != 1:
        return None
    unpacker = image.tile[0].args
    return unpacker if isinstance(unpacker, str) and unpacker in LOWER_BYTES else None


def uses_all_bits(image: Image.Image) -> bool:
    """Return whether the decoded upper bytes are those of an image that uses all 16 bits, and not only for marks."""
    counts = np.array(image.histogram()[: 256 * COLOURS]).reshape(COLOURS, 256).sum(axis=0)
    return bool(counts[USES_ALL_BITS:-1].any() or counts[-1] > MARKED_SHARE * counts.sum())


def select_lower_bytes(image: Image.Image, unpacker: str) -> None:
    """Have an opened PNG decode to the lower bytes. unpacker: its `unpacker_of`."""
    assert isinstance(image, PngImagePlugin.PngImageFile), "no other file has such an unpacker"  # noqa: S101
    image.tile = [image.tile[0]._replace(args=LOWER_BYTES[unpacker])]


def with_transparency(image: Image.Image) -> Image.Image:
    """Return decoded upper bytes whose transparent colour, if they have one, has 8 bits too."""
    image.info |= _transparency(image, lambda value: value >> 8)
    return image


def in_8_bits(upper: Image.Image, lower: Image.Image, unpacker: str, *, declared: float) -> Image.Image:
    """Return the image in 8 bits, with the values that it uses scaled to all of them.

    upper, lower: its decoded bytes. declared: the highest value by its header; 0 if it says nothing.
    """
    size = upper.width * upper.height

    def channels(first: int, last: int) -> Iterator[Samples]:
        return (samples[:, :, first:last] for _, samples in _bands(upper, lower, unpacker))

    colours = range_of(extent_of(lambda: channels(0, COLOURS), size), np.dtype(np.uint16), bits=16, declared=declared)
    ranges = [colours] * COLOURS
    if upper.mode == "RGBA":
        alpha = extent_of(lambda: channels(COLOURS, COLOURS + 1), size)
        # An image of 12 bits has alpha of 12 bits too, or of all bits that there are.
        ranges.append(colours if alpha.high <= colours.white else range_of(alpha, np.dtype(np.uint16), bits=16))
    found = Image.new(upper.mode, upper.size)
    for top, samples in _bands(upper, lower, unpacker):
        planes = [scale.to_8_bits(samples[:, :, channel]) for channel, scale in enumerate(ranges)]
        found.paste(Image.fromarray(np.stack(planes, axis=2)), (0, top))
    found.info = upper.info | _transparency(upper, lambda value: int(colours.to_8_bits(np.array(value))))
    return found


def _bands(upper: Image.Image, lower: Image.Image, unpacker: str) -> Iterator[tuple[int, Samples]]:
    """Yield bands of rows: where each begins, and its samples [height, width, channels] of 16 bits."""
    rows = max(1, BAND_PIXELS // upper.width)
    for top in range(0, upper.height, rows):
        box = (0, top, upper.width, min(top + rows, upper.height))
        low = np.asarray(lower.crop(box))[:, :, LOWER_CHANNELS[unpacker]]
        yield top, np.asarray(upper.crop(box)).astype(np.uint16) << 8 | low


def _transparency(image: Image.Image, scaled: Callable[[int], int]) -> dict[str | tuple[int, int], object]:
    """Return the entry about the transparent colour, in 8 bits."""
    colour = image.info.get("transparency")
    return {"transparency": tuple(scaled(value) for value in colour)} if isinstance(colour, tuple) else {}
