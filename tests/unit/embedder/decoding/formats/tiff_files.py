"""TIFFs that no library here writes: LZW, the predictor of floating-point samples, and packed samples."""

import io
import struct
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Array = NDArray[Any]
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
ROWS_PER_STRIP = 50
LZW, RGB, FLOAT_PREDICTOR = 5, 2, 3
STRIP_OFFSETS, STRIP_SIZES = 273, 279


def tiff(samples: Array, **options: Any) -> bytes:
    """Return the file that tifffile writes with these options."""
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


def lzw_tiff(samples: Array, predictor: int) -> bytes:
    """Return an RGB TIFF in LZW. samples: [height, width, 3], little-endian. predictor: 1, 2 or 3 (TIFF 6.0)."""
    height, width, channels = samples.shape
    raw = _predicted(samples, predictor)
    row = len(raw) // height
    strips = [_lzw(raw[top * row : (top + ROWS_PER_STRIP) * row]) for top in range(0, height, ROWS_PER_STRIP)]
    bits = 8 * samples.dtype.itemsize
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [LZW]),
        262: ("H", [RGB]),
        STRIP_OFFSETS: ("I", [0] * len(strips)),
        277: ("H", [channels]),
        278: ("I", [ROWS_PER_STRIP]),
        STRIP_SIZES: ("I", [len(strip) for strip in strips]),
        317: ("H", [predictor]),
        339: ("H", [SAMPLE_FORMATS[samples.dtype.kind]] * channels),
    }
    position = len(_directory(tags))
    for place, strip in enumerate(strips):
        tags[STRIP_OFFSETS][1][place] = position
        position += len(strip)
    return _directory(tags) + b"".join(strips)


def packed_tiff(samples: Array, bits: int, interpretation: int) -> bytes:
    """Return a TIFF of one strip whose samples follow one another. samples: [height, width, channels], below 2^bits."""
    height = len(samples)
    ones = samples.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1) & 1
    packed = np.packbits(ones.reshape(height, -1).astype(np.uint8), axis=1)
    return strip_tiff(packed.tobytes(), samples.shape, bits, interpretation)


def strip_tiff(strip: bytes, shape: tuple[int, ...], bits: int, interpretation: int, compression: int = 1) -> bytes:
    """Return a TIFF of one strip. shape: height, width, channels. bits: of a sample."""
    height, width, channels = shape
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [compression]),
        262: ("H", [interpretation]),
        STRIP_OFFSETS: ("I", [0]),
        277: ("H", [channels]),
        278: ("I", [height]),
        STRIP_SIZES: ("I", [len(strip)]),
    }
    tags[STRIP_OFFSETS][1][0] = len(_directory(tags))
    return _directory(tags) + strip


def _directory(tags: dict[int, tuple[str, list[int]]]) -> bytes:
    entries, values = b"", b""
    start = 8 + 2 + 12 * len(tags) + 4
    for tag, (letter, numbers) in tags.items():
        packed = struct.pack(f"<{len(numbers)}{letter}", *numbers)
        entries += struct.pack("<HHI", tag, 3 if letter == "H" else 4, len(numbers))
        if len(packed) > 4:
            entries += struct.pack("<I", start + len(values))
            values += packed
        else:
            entries += packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values


def _predicted(samples: Array, predictor: int) -> bytes:
    height, width, channels = samples.shape
    if predictor == FLOAT_PREDICTOR:
        size = samples.dtype.itemsize
        big_endian = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, width * channels)
        planes = big_endian.view(np.uint8).reshape(height, width * channels, size).transpose(0, 2, 1)
        samples = planes.reshape(height, size * width, channels)
    differences = samples.copy()
    if predictor > 1:
        differences[:, 1:] = samples[:, 1:] - samples[:, :-1]
    return differences.tobytes()


def _lzw(data: bytes) -> bytes:
    file = io.BytesIO()
    Image.frombytes("L", (len(data), 1), data).save(file, "TIFF", compression="tiff_lzw")
    with Image.open(file) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        start, size = image.tag_v2[STRIP_OFFSETS][0], image.tag_v2[STRIP_SIZES][0]
    return file.getvalue()[start : start + size]
