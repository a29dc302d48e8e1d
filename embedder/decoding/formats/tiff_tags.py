"""The tags of a TIFF (TIFF 6.0) that say how to read its samples, and which files Pillow reads wrongly."""

from PIL import Image, ImagePalette, TiffImagePlugin

WHITE_IS_ZERO, CIE_LAB = 0, 8
CONTIGUOUS = UNCOMPRESSED = MSB_FIRST = 1
UNSIGNED, SIGNED = 1, 2
# MaxSampleValue and SMaxSampleValue.
MAXIMUM_TAGS = (281, 341)
# GDAL_NODATA, which maps and scientific images have.
NO_DATA_TAG = 42113


def is_misread(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether Pillow would decode an opened TIFF to wrong pixels.

    It takes signed bytes for unsigned ones and unsigned words of 32 bits for signed ones, and reads each plane of an
    uncompressed file as if it had 8-bit samples in which zero is black.
    """
    tags = image.tag_v2
    bits = set(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    formats = set(tags.get(TiffImagePlugin.SAMPLEFORMAT, (UNSIGNED,)))
    if (bits, formats) in (({8}, {SIGNED}), ({32}, {UNSIGNED})):
        return True
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, CONTIGUOUS) == CONTIGUOUS:
        return False
    interpretation = _interpretation(image)
    if tags.get(TiffImagePlugin.COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED:
        return interpretation == CIE_LAB
    msb_first = tags.get(TiffImagePlugin.FILLORDER, MSB_FIRST) == MSB_FIRST
    return bits != {8} or interpretation in (WHITE_IS_ZERO, CIE_LAB) or not msb_first


def is_white_zero(image: Image.Image) -> bool:
    """Return whether an opened file is a TIFF in which zero is white."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and _interpretation(image) == WHITE_IS_ZERO


def is_wide_colour(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether an opened TIFF has colour of 16 bits, of which Pillow keeps the upper 8."""
    return image.mode in ("RGB", "RGBA") and set(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) == {16}


def sample_bits(image: Image.Image) -> int:
    """Return how many bits an opened TIFF of one channel has in a sample; 0 for another file."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    return int(highest_number(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, 1)))


def declared_maximum(image: Image.Image) -> float:
    """Return the highest sample value by the tags of an opened TIFF; 0 if it has none, or is another file."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0.0
    return max(highest_number(image.tag_v2.get(tag)) for tag in MAXIMUM_TAGS)


def no_data_of(image: Image.Image) -> float | None:
    """Return the sample that stands for no value by the tags of an opened TIFF; None if there is none."""
    return no_data(image.tag_v2.get(NO_DATA_TAG)) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def no_data(value: object) -> float | None:
    """Return the number in the tag of GDAL, which is a text; None if there is none."""
    try:
        return float(value.strip(" \0")) if isinstance(value, str) else None
    except ValueError:
        return None


def highest_number(value: object) -> float:
    """Return the highest number in the value of a tag, which may be one or a tuple; 0 if there is none."""
    values = value if isinstance(value, tuple) else (value,)
    return max((float(one) for one in values if isinstance(one, int | float)), default=0.0)


def mend_palette(image: TiffImagePlugin.TiffImageFile) -> None:
    """Give an opened TIFF the palette that it means if its colours have 8 bits in place of 16, as old writers did."""
    colours = image.tag_v2.get(TiffImagePlugin.COLORMAP, ())
    if image.mode in ("P", "PA") and colours and max(colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _interpretation(image: TiffImagePlugin.TiffImageFile) -> int:
    return int(image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, WHITE_IS_ZERO))
