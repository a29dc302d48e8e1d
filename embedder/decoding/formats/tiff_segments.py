"""The samples in the strips and tiles of a TIFF, decompressed by libtiff, which is a part of Pillow."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image

from embedder.decoding.formats import packed_samples
from embedder.decoding.image_error import ImageError
from embedder.decoding.sample_range import Samples

UNCOMPRESSED = 1
# Compressions of bytes: none, LZW, Deflate (by its new and its old number), PackBits, Zstandard, LZMA.
COMPRESSIONS = frozenset({UNCOMPRESSED, 5, 8, 32946, 32773, 50000, 34925})
# Compressions in which each segment is an image file, with its format: WebP, JPEG 2000, and that of Aperio.
IMAGE_FORMATS = {50001: "WEBP", 34712: "JPEG2000", 33005: "JPEG2000"}
# Other compressions by their names. Nothing here reads them.
OTHER_COMPRESSIONS = {
    6: "old JPEG",
    7: "JPEG",
    32809: "ThunderScan",
    32909: "PixarLog",
    33003: "JPEG 2000 (YCbCr)",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34887: "LERC",
    34892: "lossy JPEG",
    34933: "PNG",
    34934: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
NO_PREDICTOR, HORIZONTAL, FLOATING_POINT = 1, 2, 3
# Samples of whole machine words. Others are packed.
WORD_BITS = frozenset({8, 16, 32, 64})
LSB_FIRST = 2
# No file that could be read in time has more or larger ones.
MAX_SEGMENTS = 500_000
MAX_SEGMENT_BYTES = 1 << 30


@dataclass(frozen=True)
class Segment:
    """The samples [height, width, channels] of a strip or tile, from `row` and `column` of the image on.

    plane: the channel that they belong to if the channels are stored apart, otherwise 0.
    """

    samples: Samples
    row: int
    column: int
    plane: int


class TiffSegments:
    """The segments of one image of a TIFF, read as often as needed. Raises what tifffile and Pillow raise."""

    def __init__(self, data: bytes, page: tifffile.TiffPage) -> None:
        """Raises ImageError for a kind of file that is not supported."""
        self._data = memoryview(data)
        self._page = page
        self._compression = int(page.compression)
        self._predictor = int(page.predictor)
        self._fill_order = int(page.fillorder)
        self._count = int(np.prod(page.chunked))
        self._is_packed = page.bitspersample not in WORD_BITS
        if page.dtype is None or page.imagedepth != 1 or page.is_subsampled or not self._can_be_unpacked():
            raise unsupported(f"{page.bitspersample} bits in a sample")
        if self._compression not in COMPRESSIONS | IMAGE_FORMATS.keys():
            name = OTHER_COMPRESSIONS.get(self._compression)
            raise unsupported(f"{name} compression" if name else f"compression {self._compression}")
        if self._predictor not in (NO_PREDICTOR, HORIZONTAL, FLOATING_POINT):
            raise unsupported(f"predictor {self._predictor}")
        if self._count > MAX_SEGMENTS:
            raise unsupported(f"{self._count} strips or tiles")
        # What is undone here must not be undone again by tifffile, which lacks most of these decompressors.
        if self._compression != UNCOMPRESSED:
            page.compression = tifffile.COMPRESSION.NONE
            page.fillorder = tifffile.FILLORDER.MSB2LSB
        if self._predictor == FLOATING_POINT:
            page.predictor = tifffile.PREDICTOR.NONE

    def __iter__(self) -> Iterator[Segment]:
        height, width = self._page.imagelength, self._page.imagewidth
        for index in range(self._count):
            _, (plane, _, row, column, _), (_, rows, columns, channels) = self._page.decode(None, index)
            samples = self._samples(index, (rows, columns, channels))
            yield Segment(samples[: height - row, : width - column], row, column, plane)

    def _can_be_unpacked(self) -> bool:
        """Return whether packed samples, if there are any, are integers that follow one another bit by bit."""
        is_plain = self._predictor == NO_PREDICTOR and self._page.dtype is not None and self._page.dtype.kind in "ub"
        return not self._is_packed or (is_plain and self._page.bitspersample <= packed_samples.MAX_BITS)

    def _samples(self, index: int, shape: tuple[int, int, int]) -> Samples:
        """Return the samples [height, width, channels] of a segment."""
        if self._compression in IMAGE_FORMATS and self._page.databytecounts[index]:
            return self._decoded_image(index, shape)
        encoded = self._encoded(index, shape)
        if encoded is None:
            return np.zeros(shape, self._page.dtype)
        if not self._is_packed:
            decoded: Samples = np.asarray(self._page.decode(encoded, index)[0])
            return decoded.reshape(decoded.shape[1:])
        bits, lsb_first = self._page.bitspersample, int(self._page.fillorder) == LSB_FIRST
        return packed_samples.unpacked(encoded, shape, bits, lsb_first=lsb_first)

    def _decoded_image(self, index: int, shape: tuple[int, int, int]) -> Samples:
        """Return the samples of a segment that is an image file. Raises ValueError if it has another shape."""
        rows, columns, channels = shape
        offset, size = self._page.dataoffsets[index], self._page.databytecounts[index]
        file = io.BytesIO(self._data[offset : offset + size])
        with Image.open(file, formats=(IMAGE_FORMATS[self._compression],)) as image:
            if image.size != (columns, rows):
                raise ValueError("a segment of another size")
            samples = np.asarray(image).reshape(rows, columns, -1)[:, :, :channels]
        if samples.dtype != self._page.dtype:
            # Pillow keeps the upper 8 bits of colours.
            raise unsupported(
                f"{IMAGE_FORMATS[self._compression]} compression of {self._page.bitspersample}-bit colour"
            )
        return samples

    def _encoded(self, index: int, shape: tuple[int, int, int]) -> bytes | memoryview | None:
        """Return the bytes of a segment without compression; None for one that the file leaves out."""
        rows, columns, channels = shape
        offset, size = self._page.dataoffsets[index], self._page.databytecounts[index]
        row_bytes = packed_samples.row_bytes(columns * channels, self._page.bitspersample)
        if rows * row_bytes > MAX_SEGMENT_BYTES:
            raise unsupported("a strip or tile of that size")
        if size == 0:
            return None
        encoded = self._data[offset : offset + size]
        if self._compression != UNCOMPRESSED:
            encoded = memoryview(_decompressed(encoded, self._compression, self._fill_order, rows, row_bytes))
        if self._predictor == FLOATING_POINT:
            return _unpredicted(encoded, shape, self._page.bitspersample // 8, self._page.parent.byteorder)
        return encoded


def unsupported(what: str) -> ImageError:
    """Return the error for a TIFF that cannot be read although it may be valid. what: what it has."""
    return ImageError("decode_error", f"The image could not be decoded: TIFFs with {what} are not supported.")


def _decompressed(encoded: memoryview, compression: int, fill_order: int, rows: int, row_bytes: int) -> bytes:
    """Return the bytes of a segment: those of a grey image of this compression that has a pixel for each byte."""
    entries = [
        *[(256, row_bytes), (257, rows), (258, 8), (259, compression), (262, 1), (266, fill_order)],
        *[(273, 0), (277, 1), (278, rows), (279, len(encoded))],
    ]
    size = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, size if tag == 273 else value) for tag, value in entries)
    header = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    with Image.open(io.BytesIO(header + encoded), formats=("TIFF",)) as image:
        return image.tobytes()


def _unpredicted(encoded: memoryview, shape: tuple[int, int, int], sample_bytes: int, byte_order: str) -> bytes:
    """Return floating-point samples without the predictor of Adobe's TIFF Technical Note 3."""
    rows, columns, channels = shape
    differences = np.frombuffer(encoded, np.uint8, rows * columns * channels * sample_bytes)
    planes = np.cumsum(differences.reshape(rows, columns * sample_bytes, channels), axis=1, dtype=np.uint8)
    samples = planes.reshape(rows, sample_bytes, columns * channels).transpose(0, 2, 1)
    return (samples if byte_order == ">" else samples[:, :, ::-1]).tobytes()
