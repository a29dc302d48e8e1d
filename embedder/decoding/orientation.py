"""Turn a decoded image upright, as the orientation in its EXIF metadata says."""

import struct

from PIL import ExifTags, Image

from servicekit.image_region import Box

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_HEADER, ENTRY_BYTES, SHORT = b"Exif\0\0", 12, 3
# Orientations that swap width and height.
SIDEWAYS = range(5, 9)


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 2 to 8, or 1 if there is none, if it is invalid or if the metadata is damaged.

    Damaged metadata says nothing about the pixels, so it never costs the image.
    """
    try:
        orientation = _in_block(image.info.get("exif")) or int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
    return orientation if orientation in TRANSPOSITIONS else 1


def _in_block(block: object) -> int:
    """Return the orientation that the first directory of an EXIF block says; 0 if it says none.

    Pillow reads all tags of the directory, and no orientation if one of the others is damaged.
    """
    if not isinstance(block, bytes):
        return 0
    tiff = block.removeprefix(EXIF_HEADER)
    if tiff[:2] not in (b"II", b"MM"):
        return 0
    sign = "<" if tiff[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(sign + "I", tiff, 4)
        (count,) = struct.unpack_from(sign + "H", tiff, start)
        for place in range(start + 2, start + 2 + ENTRY_BYTES * count, ENTRY_BYTES):
            tag, kind, values, value = struct.unpack_from(sign + "HHIH", tiff, place)
            if (tag, kind, values) == (ExifTags.Base.Orientation, SHORT, 1):
                return int(value)
    except struct.error:
        pass
    return 0


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image turned from this orientation.

    `PIL.ImageOps.exif_transpose` also rewrites the metadata, which fails for tags of an unexpected type.
    """
    transposition = TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def stored_box(box: Box, upright_size: tuple[int, int], orientation: int) -> Box:
    """Return where a box of the upright image is in the image as it is stored, which has this orientation."""
    (left, top, right, bottom), (width, height) = box, upright_size
    across, across_mirrored = (left, right), (width - right, width - left)
    down, down_mirrored = (top, bottom), (height - bottom, height - top)
    horizontal, vertical = {
        2: (across_mirrored, down),
        3: (across_mirrored, down_mirrored),
        4: (across, down_mirrored),
        5: (down, across),
        6: (down, across_mirrored),
        7: (down_mirrored, across_mirrored),
        8: (down_mirrored, across),
    }.get(orientation, (across, down))
    return horizontal[0], vertical[0], horizontal[1], vertical[1]
