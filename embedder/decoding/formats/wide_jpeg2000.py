"""JPEG 2000 colours of more than 8 bits (T.800), whose white Pillow decodes to black.

It rounds samples to 8 bits, and those that round to 256 become 0. The same file with one more bit in a sample has no
such value, and so tells which samples are white.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

# The codestream begins with these two segments.
START = b"\xff\x4f\xff\x51"
SIZES, CODING, CODING_OF_ONE, QUANTIZATION, QUANTIZATION_OF_ONE, TILE = 0x51, 0x52, 0x53, 0x5C, 0x5D, 0x90
# In the segment of sizes, from its length on: the number of components, and the first of them.
COUNT_PLACE, COMPONENTS_PLACE, COMPONENT_BYTES = 36, 38, 3
MAX_BITS = 16
# The numbers of components from which on their number takes two bytes.
MANY = 257
REVERSIBLE = 1
# The place of the wavelet transform in a segment of coding, from its length on, after what the component takes.
TRANSFORM_PLACE, TRANSFORM_PLACE_OF_ONE = 11, 7
EXPONENT, LARGEST_EXPONENT, GUARD = 1 << 11, 31, 1 << 5
PALETTE = b"pclr"
MIDDLE = 128
BAND_PIXELS = 1_000_000


@dataclass(frozen=True)
class _Segment:
    """A marker segment of the main header. start: of its length, in the file."""

    marker: int
    start: int
    length: int


def may_lack_white(image: Image.Image) -> bool:
    """Return whether a decoded JPEG 2000 has samples of 0, which may stand for white."""
    return image.mode in ("RGB", "RGBA", "LA") and any(image.histogram()[::256])


def with_one_more_bit(data: bytes) -> bytes | None:
    """Return the file with its samples declared one bit deeper, so that they lie around the middle of the range.

    None if its samples have 8 bits, or if its header is not one that can be changed.
    """
    try:
        return _changed(data)
    except (struct.error, IndexError):
        return None


def with_white(image: Image.Image, shifted: Image.Image) -> Image.Image:
    """Return the decoded image with white where it belongs. shifted: the decoded `with_one_more_bit`."""
    if shifted.size != image.size or shifted.mode != image.mode:
        return image
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        band, around = np.array(image.crop(box)), np.asarray(shifted.crop(box))
        band[(band == 0) & (around > MIDDLE)] = 255
        image.paste(Image.fromarray(band, image.mode), box)
    return image


def _changed(data: bytes) -> bytes | None:
    begin = data.find(START)
    if begin < 0 or PALETTE in data[:begin]:
        return None
    segments = list(_segments(data, begin + 2))
    changed = bytearray(data)
    count = _add_bit(changed, segments[0].start)
    transforms = set(_transforms(data, segments, count))
    if not count or len(transforms) != 1:
        return None
    # Without a loss, the steps do not depend on the number of bits.
    if transforms != {REVERSIBLE} and not _keep_steps(changed, segments, count):
        return None
    return bytes(changed)


def _segments(data: bytes, place: int) -> Iterator[_Segment]:
    while True:
        first, marker, length = struct.unpack_from(">BBH", data, place)
        if first != 0xFF or marker == TILE:
            return
        yield _Segment(marker, place + 2, length)
        place += 2 + length


def _add_bit(changed: bytearray, start: int) -> int:
    """Add one to the number of bits of each component. Returns how many there are; 0 if they have other bits."""
    (count,) = struct.unpack_from(">H", changed, start + COUNT_PLACE)
    places = range(start + COMPONENTS_PLACE, start + COMPONENTS_PLACE + COMPONENT_BYTES * count, COMPONENT_BYTES)
    # The highest bit says that samples are signed. Such files are rare.
    if not all(8 < changed[place] + 1 <= MAX_BITS for place in places):
        return 0
    for place in places:
        changed[place] += 1
    return int(count)


def _transforms(data: bytes, segments: list[_Segment], count: int) -> Iterator[int]:
    for segment in segments:
        if segment.marker == CODING:
            yield data[segment.start + TRANSFORM_PLACE]
        elif segment.marker == CODING_OF_ONE:
            yield data[segment.start + _bytes_of_number(count) + TRANSFORM_PLACE_OF_ONE]


def _keep_steps(changed: bytearray, segments: list[_Segment], count: int) -> bool:
    """Raise the exponent of each quantization step by one, which makes up for the bit that was added.

    There is one guard bit less, so that the number of bit planes stays the same. Returns whether that was possible.
    """
    for segment in segments:
        if segment.marker not in (QUANTIZATION, QUANTIZATION_OF_ONE):
            continue
        style = segment.start + 2 + (_bytes_of_number(count) if segment.marker == QUANTIZATION_OF_ONE else 0)
        if changed[style] < GUARD:
            return False
        changed[style] -= GUARD
        for place in range(style + 1, segment.start + segment.length, 2):
            (step,) = struct.unpack_from(">H", changed, place)
            if step // EXPONENT == LARGEST_EXPONENT:
                return False
            struct.pack_into(">H", changed, place, step + EXPONENT)
    return True


def _bytes_of_number(count: int) -> int:
    return 1 if count < MANY else 2
