"""Refuse a file whose structure makes it slow to decode, before any pixel is decoded.

Each scan of a JPEG goes over the whole image, and Pillow reads each strip, tile, chunk and segment in Python. A few
kilobytes can ask for minutes of that. Files that people make have far fewer parts.
"""

import struct
from dataclasses import dataclass

from PIL import Image

from embedder.decoding.formats import gif_blocks, png_chunks
from embedder.decoding.formats.tiff_directories import TiffDirectories, is_tiff
from embedder.decoding.image_error import ImageError

JPEG_START, START_OF_SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# The markers of frames (T.81, B.1.1.3), those of sequential ones, and where in a frame the number of components is.
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
SEQUENTIAL, COMPONENTS = frozenset({0xC0, 0xC1}), 9
# Scans of a progressive JPEG: encoders write about ten. A scan without data takes 50 ms for 1,000 megapixels.
MAX_SCANS, MAX_SCANNED_PIXELS = 1000, 10_000_000_000
# Segments before the first scan. A profile or metadata of 20 MB takes 310.
MAX_JPEG_SEGMENTS = 5000
# Strips and tiles of a TIFF. One takes 4 µs at least.
MAX_TIFF_SEGMENTS = 200_000
# Chunks of a PNG. One takes 2 µs. Encoders write pixels in chunks of 8 KiB or more.
MAX_PNG_CHUNKS = 50_000

_SEGMENT = struct.Struct(">BBH")
STRIP_OFFSETS, TILE_OFFSETS = 273, 324


@dataclass(frozen=True)
class _Header:
    """What precedes the first scan of a JPEG.

    segments: how many; one more than are allowed if there are too many. end: where the first scan begins. one_scan:
    decoders read no further one.
    """

    segments: int
    end: int
    one_scan: bool


def check_effort(data: bytes) -> None:
    """Raise ImageError, image_too_slow, for a file that has too many parts to be opened."""
    if data.startswith(JPEG_START):
        _check("segments", _jpeg_header(data).segments, MAX_JPEG_SEGMENTS)
    elif png_chunks.is_png(data):
        _check("chunks", _png_chunks(data), MAX_PNG_CHUNKS)
    elif gif_blocks.is_gif(data):
        _check("blocks", gif_blocks.gif_start(data).blocks, gif_blocks.MAX_BLOCKS)
    elif is_tiff(data):
        _check("strips or tiles", _tiff_segments(data), MAX_TIFF_SEGMENTS)


def check_scans(data: bytes, image: Image.Image) -> None:
    """Raise ImageError, image_too_slow, for an opened JPEG with too many scans for its size."""
    if not data.startswith(JPEG_START) or (header := _jpeg_header(data)).one_scan:
        return
    most = min(MAX_SCANS, MAX_SCANNED_PIXELS // (image.width * image.height))
    # The data of a scan has no markers in it.
    if data.count(START_OF_SCAN, header.end) > most:
        # What follows the image, such as a film, may have any bytes.
        end = data.find(END, header.end)
        _check("scans", data.count(START_OF_SCAN, header.end, len(data) if end < 0 else end), most)


def _check(parts: str, count: int, most: int) -> None:
    if count > most:
        message = f"The image would take too long to decode: it has {count:,} {parts}, and the limit is {most:,}."
        raise ImageError("image_too_slow", f"{message} Save it again with usual settings.")


def _jpeg_header(data: bytes) -> _Header:
    position, count, frames = len(JPEG_START), 0, []
    while count <= MAX_JPEG_SEGMENTS and position + _SEGMENT.size <= len(data):
        first, marker, length = _SEGMENT.unpack_from(data, position)
        if first != START_OF_SCAN[0] or marker == START_OF_SCAN[1]:
            break
        if marker in FRAMES:
            frames.append((marker, data[position + COMPONENTS : position + COMPONENTS + 1]))
        position, count = position + 2 + max(length, 2), count + 1
    # A sequential frame ends with a scan that has all of its components.
    components = data[position + _SEGMENT.size : position + _SEGMENT.size + 1]
    return _Header(
        count, position, [(marker in SEQUENTIAL, number) for marker, number in frames] == [(True, components)]
    )


def _png_chunks(data: bytes) -> int:
    """Return how many chunks there are; one more than are allowed if there are too many."""
    position, count, end = len(png_chunks.SIGNATURE), 0, len(data) - 3
    while count <= MAX_PNG_CHUNKS and position < end:
        # The length, then the kind, the body and its checksum.
        position += int.from_bytes(data[position : position + 4], "big") + 12
        count += 1
    return count


def _tiff_segments(data: bytes) -> int:
    """Return how many strips or tiles the first directory of a TIFF has; 0 if it cannot be read."""
    directory = TiffDirectories(data).first()
    found = [] if directory is None else [directory.entries.get(tag) for tag in (STRIP_OFFSETS, TILE_OFFSETS)]
    return max((entry.length for entry in found if entry is not None), default=0)
