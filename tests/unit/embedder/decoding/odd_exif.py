"""EXIF metadata that says how to turn the image, beside tags that no reader expects."""

import struct
from dataclasses import dataclass

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, FLOAT, IFD = 1, 2, 3, 4, 5, 7, 11, 13
MAKE, ORIENTATION, X_RESOLUTION, RESOLUTION_UNIT, SOFTWARE = 0x010F, 0x0112, 0x011A, 0x0128, 0x0131
IMAGE_WIDTH, STRIP_BYTE_COUNTS, SUB_IFDS, Y_CB_CR_POSITIONING = 0x0100, 0x0117, 0x014A, 0x0213
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
# Where the data behind the one directory begins, if the directory has two entries.
AFTER_TWO_ENTRIES = 8 + 2 + 2 * 12 + 4


@dataclass(frozen=True)
class Tag:
    """One entry of a directory. `value` is its value of up to 4 bytes, or the offset of a longer value."""

    number: int
    kind: int
    count: int
    value: bytes | int

    def encode(self) -> bytes:
        """Return the 12 bytes of the entry."""
        value = self.value.to_bytes(4, "little") if isinstance(self.value, int) else self.value.ljust(4, b"\0")
        return struct.pack("<HHI", self.number, self.kind, self.count) + value


def exif(*tags: Tag, orientation: int, entries: int | None = None, next_directory: int = 0) -> bytes:
    """Return an EXIF block with these tags and an orientation. entries: how many tags the block claims to have."""
    directory = [*tags, Tag(ORIENTATION, SHORT, 1, orientation)]
    directory.sort(key=lambda tag: tag.number)
    header = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(directory) if entries is None else entries)
    body = b"".join(tag.encode() for tag in directory)
    return header + body + struct.pack("<I", next_directory) + bytes(range(64))


def odd_exif(orientation: int) -> dict[str, bytes]:
    """Return EXIF blocks that say this orientation, by what is odd about them."""

    def block(*tags: Tag, entries: int | None = None, next_directory: int = 0) -> bytes:
        return exif(*tags, orientation=orientation, entries=entries, next_directory=next_directory)

    return {
        "nothing": block(),
        "x_resolution_is_text": block(Tag(X_RESOLUTION, ASCII, 3, b"72")),
        "x_resolution_is_empty_text": block(Tag(RESOLUTION_UNIT, SHORT, 1, 2), Tag(X_RESOLUTION, ASCII, 1, b"")),
        "y_cb_cr_positioning_is_rational": block(Tag(Y_CB_CR_POSITIONING, RATIONAL, 1, AFTER_TWO_ENTRIES)),
        "exif_directory_at_minus_one": block(Tag(EXIF_IFD, 9, 1, b"\xff\xff\xff\xff")),
        "exif_directory_behind_the_end": block(Tag(EXIF_IFD, LONG, 1, 0xFFFFFFFF)),
        "exif_directory_is_text": block(Tag(EXIF_IFD, ASCII, 4, b"abc")),
        "exif_directory_is_the_first_one": block(Tag(EXIF_IFD, IFD, 1, 8)),
        "gps_directory_is_text": block(Tag(GPS_IFD, ASCII, 4, b"abc")),
        "huge_count_of_text": block(Tag(MAKE, ASCII, 0xFFFFFFFF, AFTER_TWO_ENTRIES)),
        "huge_count_of_shorts": block(Tag(MAKE, SHORT, 0x7FFFFFFF, AFTER_TWO_ENTRIES)),
        "huge_count_of_directories": block(Tag(SUB_IFDS, LONG, 100_000, 8)),
        "unknown_type": block(Tag(MAKE, 99, 1, AFTER_TWO_ENTRIES)),
        "make_is_a_number": block(Tag(MAKE, FLOAT, 1, b"\0\0\xc0\x7f")),
        "software_is_undefined": block(Tag(SOFTWARE, UNDEFINED, 4, b"\xff\xfe\xfd\xfc")),
        "width_is_text": block(Tag(IMAGE_WIDTH, ASCII, 4, b"abc")),
        "strip_byte_counts_are_text": block(Tag(STRIP_BYTE_COUNTS, ASCII, 4, b"abc")),
        "resolution_unit_is_text": block(Tag(RESOLUTION_UNIT, ASCII, 2, b"2")),
        "more_entries_than_there_are": block(entries=60_000),
        "directory_is_its_own_successor": block(next_directory=8),
        "next_directory_behind_the_end": block(next_directory=0xFFFFFFFF),
        "cut_off_in_a_value": block(Tag(X_RESOLUTION, RATIONAL, 1, AFTER_TWO_ENTRIES))[:-62],
        "cut_off_in_the_directory": block(Tag(X_RESOLUTION, SHORT, 1, 72))[: 6 + 8 + 2 + 12 + 5],
    }


ODDITIES = sorted(odd_exif(1))
UNREADABLE = {
    "empty": b"Exif\0\0",
    "directory_behind_the_end": b"Exif\0\0MM\0*\xff\xff\xff\xff",
    "not_tiff": b"Exif\0\0" + b"garbage!" * 5,
    "orientation_is_text": b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + Tag(ORIENTATION, ASCII, 4, b"top").encode(),
    "orientation_is_unknown": exif(orientation=99),
}
