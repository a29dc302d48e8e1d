"""BMPs whose header has a bit mask for each colour. Pillow reads only the usual masks."""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.decoding.header import check_size

SIGNATURE, FILE_HEADER_BYTES, INFO_BYTES, ALPHA_INFO_BYTES = b"BM", 14, 40, 56
# Masks for red, green and blue, and in the second kind for alpha too, in the header or after it.
BIT_FIELDS, ALPHA_BIT_FIELDS = 3, 6
PIXEL_TYPES = {16: "<u2", 32: "<u4"}
BAND_PIXELS = 1_000_000
_FILE = struct.Struct("<II")
_INFO = struct.Struct("<iiHHI")


@dataclass(frozen=True)
class _Header:
    """What the headers say. masks: of red, green, blue and alpha, 0 for one that is missing."""

    width: int
    height: int
    bits: int
    start: int
    masks: tuple[int, int, int, int]

    @property
    def row_bytes(self) -> int:
        """The bytes of a row, which is filled up to a multiple of four."""
        return -(-self.width * self.bits // 32) * 4


def has_masks(data: bytes) -> bool:
    """Return whether a file says that it is a BMP with masks."""
    return _header(data) is not None


def read_masked_bmp(data: bytes, max_pixels: int) -> Image.Image:
    """Return an image of mode RGB, or RGBA if there is a mask for alpha. Raises ImageError; ValueError if damaged."""
    header = _header(data)
    if header is None or not all(header.masks[:3]):
        raise ValueError("no masks")
    height = abs(header.height)
    check_size((header.width, height), max_pixels)
    rows = np.frombuffer(data, np.uint8, header.row_bytes * height, header.start).reshape(height, header.row_bytes)
    # The last row comes first if the height is positive.
    rows = rows if header.height < 0 else rows[::-1]
    masks = header.masks if header.masks[3] else header.masks[:3]
    image = Image.new("RGBA" if len(masks) > len("RGB") else "RGB", (header.width, height))
    band_rows = max(1, BAND_PIXELS // header.width)
    for top in range(0, height, band_rows):
        band = np.ascontiguousarray(rows[top : top + band_rows]).view(PIXEL_TYPES[header.bits])[:, : header.width]
        channels = [_channel(band, mask) for mask in masks]
        image.paste(Image.fromarray(np.stack(channels, axis=2)), (0, top))
    return image


def _header(data: bytes) -> _Header | None:
    if not data.startswith(SIGNATURE) or len(data) < FILE_HEADER_BYTES + ALPHA_INFO_BYTES:
        return None
    start, size = _FILE.unpack_from(data, FILE_HEADER_BYTES - 4)
    width, height, _, bits, compression = _INFO.unpack_from(data, FILE_HEADER_BYTES + 4)
    if size < INFO_BYTES or bits not in PIXEL_TYPES or compression not in (BIT_FIELDS, ALPHA_BIT_FIELDS):
        return None
    red, green, blue, alpha = struct.unpack_from("<4I", data, FILE_HEADER_BYTES + INFO_BYTES)
    has_alpha = compression == ALPHA_BIT_FIELDS or size >= ALPHA_INFO_BYTES
    return _Header(width, height, bits, start, (red, green, blue, alpha if has_alpha else 0))


def _channel(pixels: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """Return the bits of the mask, scaled to 8."""
    shift = (mask & -mask).bit_length() - 1
    largest = mask >> shift
    values = (pixels & np.array(mask, pixels.dtype)) >> np.array(shift, pixels.dtype)
    scaled: NDArray[np.float32] = np.rint(values * np.float32(255 / largest))
    return scaled.astype(np.uint8)
