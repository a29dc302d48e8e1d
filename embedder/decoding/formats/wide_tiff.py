"""Read the TIFFs (TIFF 6.0) that Pillow misreads or refuses: odd, signed or floating-point samples, planes apart."""

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image

from embedder.decoding.formats.tiff_segments import Segment, TiffSegments, unsupported
from embedder.decoding.formats.tiff_tags import (
    CIE_LAB,
    MAXIMUM_TAGS,
    NO_DATA_TAG,
    WHITE_IS_ZERO,
    highest_number,
    no_data,
)
from embedder.decoding.header import check_size
from embedder.decoding.sample_range import SampleRange, Samples, extent_of, range_of

# Its warnings are about the files of others.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

ICC_PROFILE = 34675
BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, ICC_LAB = 1, 2, 3, 5, 6, 9
# The mode and the number of the colours, by photometric interpretation.
COLOURS = {
    WHITE_IS_ZERO: ("L", 1),
    BLACK_IS_ZERO: ("L", 1),
    RGB: ("RGB", 3),
    PALETTE: ("P", 1),
    CMYK: ("CMYK", 4),
    YCBCR: ("YCbCr", 3),
    CIE_LAB: ("LAB", 3),
    ICC_LAB: ("LAB", 3),
}
ASSOCIATED, UNASSOCIATED = 1, 2
OLD_COLOURS = 256
# Rows that are converted at a time.
BAND_ROWS = 256


@dataclass(frozen=True)
class _Layout:
    """What the channels of a file are: colours of a mode of Pillow, then perhaps alpha, then others that are ignored.

    interpretation: the photometric one. alpha: whether there is any; associated: whether colours are multiplied by it.
    """

    interpretation: int
    mode: str
    colours: int
    alpha: bool
    associated: bool

    @property
    def channels(self) -> int:
        """How many channels count."""
        return self.colours + self.alpha


def read_wide_tiff(data: bytes, max_pixels: int) -> Image.Image:
    """Return the first image of a TIFF in 8 bits, with its profile and its orientation, but not turned yet.

    Its mode is L, RGB, RGBA, CMYK, YCbCr or LAB. Raises ImageError, and what tifffile raises for a damaged file.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        check_size((page.imagewidth, page.imagelength), max_pixels)
        layout = _layout(page)
        segments = TiffSegments(data, page)
        image = _coloured(segments, page) if layout.mode == "P" else _image(_pixels(segments, page, layout), layout)
        profile, orientation = page.tags.valueof(ICC_PROFILE), page.tags.valueof(ExifTags.Base.Orientation)
    if isinstance(profile, bytes):
        image.info["icc_profile"] = profile
    if isinstance(orientation, int):
        image.getexif()[ExifTags.Base.Orientation] = orientation
    return image


def _layout(page: tifffile.TiffPage) -> _Layout:
    interpretation = int(page.photometric)
    mode, colours = COLOURS.get(interpretation, ("", 0))
    # A sample of one bit counts as a truth value.
    kinds = "iufb" if mode in ("L", "RGB") else "u"
    if not mode or page.samplesperpixel < colours or page.dtype is None or page.dtype.kind not in kinds:
        raise unsupported(f"photometric interpretation {interpretation} and samples of type {page.dtype}")
    if mode == "LAB" and page.bitspersample not in (8, 16):
        raise unsupported(f"CIELAB of {page.bitspersample} bits")
    extra = int(page.extrasamples[0]) if page.extrasamples else UNASSOCIATED if mode == "RGB" else 0
    alpha = page.samplesperpixel > colours and mode in ("L", "RGB") and extra in (ASSOCIATED, UNASSOCIATED)
    return _Layout(interpretation, mode, colours, alpha, extra == ASSOCIATED)


def _pixels(segments: TiffSegments, page: tifffile.TiffPage, layout: _Layout) -> NDArray[np.uint8]:
    """Return the pixels [height, width, channels] in 8 bits."""
    ranges = _ranges(segments, page, layout)
    pixels = np.zeros((page.imagelength, page.imagewidth, layout.channels), np.uint8)
    for channel, segment, samples in _channels(segments, layout):
        if layout.mode == "LAB":
            # The upper byte, in two's complement for a and b.
            found = (samples >> (page.bitspersample - 8)).astype(np.uint8)
            found ^= 128 if layout.interpretation == ICC_LAB and channel > 0 else 0
        else:
            found = ranges[channel >= layout.colours].to_8_bits(samples)
        rows, columns = found.shape
        pixels[segment.row : segment.row + rows, segment.column : segment.column + columns, channel] = found
    return pixels


def _coloured(segments: TiffSegments, page: tifffile.TiffPage) -> Image.Image:
    """Return an image whose samples are numbers of colours, in these colours."""
    palette = np.asarray(page.colormap, np.uint16).reshape(3, -1).T
    # Old writers use 8 bits in place of 16.
    colours = (palette if palette.max() < OLD_COLOURS else palette >> 8).astype(np.uint8)
    pixels = np.zeros((page.imagelength, page.imagewidth, 3), np.uint8)
    for segment in segments:
        rows, columns, _ = segment.samples.shape
        numbers = np.minimum(segment.samples[:, :, 0], len(colours) - 1)
        if segment.plane == 0:
            pixels[segment.row : segment.row + rows, segment.column : segment.column + columns] = colours[numbers]
    return Image.fromarray(pixels)


def _ranges(segments: TiffSegments, page: tifffile.TiffPage, layout: _Layout) -> tuple[SampleRange, SampleRange]:
    """Return the range of the colours and that of alpha."""
    bits, sample_type = page.bitspersample, np.dtype(np.uint8 if page.bitspersample == 1 else page.dtype)
    whole = SampleRange(0, 2.0**bits - 1)
    if layout.mode not in ("L", "RGB") or (bits == 8 and sample_type.kind == "u"):
        return (whole.inverted if layout.interpretation == WHITE_IS_ZERO else whole), whole
    size = page.imagelength * page.imagewidth * layout.channels
    declared = max(highest_number(page.tags.valueof(tag)) for tag in MAXIMUM_TAGS)

    def samples_of(first: int, last: int) -> Iterator[Samples]:
        return (samples for channel, _, samples in _channels(segments, layout) if first <= channel < last)

    colours = extent_of(lambda: samples_of(0, layout.colours), size, no_data(page.tags.valueof(NO_DATA_TAG)))
    colour_range = range_of(colours, sample_type, bits=bits, declared=declared)
    alpha_range = colour_range
    if layout.alpha:
        alpha = extent_of(lambda: samples_of(layout.colours, layout.channels), size)
        # An image of 12 bits has alpha of 12 bits too, or of all bits that there are.
        if alpha.high > colour_range.white:
            alpha_range = range_of(alpha, sample_type, bits=bits)
    return (colour_range.inverted if layout.interpretation == WHITE_IS_ZERO else colour_range), alpha_range


def _channels(segments: TiffSegments, layout: _Layout) -> Iterator[tuple[int, Segment, Samples]]:
    """Yield each channel that counts of each segment: its number, the segment, and its samples [height, width]."""
    for segment in segments:
        for place in range(segment.samples.shape[2]):
            if segment.plane + place < layout.channels:
                yield segment.plane + place, segment, segment.samples[:, :, place]


def _image(pixels: NDArray[np.uint8], layout: _Layout) -> Image.Image:
    height, width, _ = pixels.shape
    if not layout.alpha:
        return Image.frombytes(layout.mode, (width, height), pixels)
    colours, alpha = pixels[:, :, : layout.colours], pixels[:, :, layout.colours :]
    if layout.associated:
        # On white, which is what transparent images are put on.
        for top in range(0, height, BAND_ROWS):
            band = slice(top, top + BAND_ROWS)
            colours[band] += np.minimum(255 - alpha[band], 255 - colours[band])
        return Image.frombytes(layout.mode, (width, height), np.ascontiguousarray(colours))
    if layout.colours == 1:
        pixels = np.concatenate([colours, colours, colours, alpha], axis=2)
    return Image.frombytes("RGBA", (width, height), pixels)
