"""EXIF blocks with every kind of tag: each type, count and value where each tag of interest is expected."""

import itertools
import random
import struct
from collections.abc import Iterator

ORIENTATION = 0x0112
# Tags that readers act on: sizes, strips, resolutions, directories, texts, thumbnails and makers' notes.
TAGS = (
    *(0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x010F, 0x0111, 0x0115, 0x0117, 0x011A, 0x011B, 0x0128, 0x0131),
    *(0x013E, 0x014A, 0x0201, 0x0202, 0x0213, 0x02BC, 0x8298, 0x8769, 0x8773, 0x8825, 0x927C, 0x9286, 0xA005, 0xC4A5),
)
TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 18, 129, 65535)
COUNTS = (0, 1, 2, 3, 5, 300, 0x7FFFFFFF, 0xFFFFFFFF)
VALUES = (0, 1, 8, 26, 0x7FFFFFFF, 0xFFFFFFFF)


def exif_blocks(seed: int, count: int) -> Iterator[tuple[str, int, bytes]]:
    """Yield `count` different EXIF blocks: what is odd about each, the orientation that it says, and its bytes."""
    choices = list(itertools.product(TAGS, TYPES, COUNTS, VALUES, (b"II", b"MM")))
    for number, (tag, kind, size, value, order) in enumerate(random.Random(seed).sample(choices, count)):
        orientation = 1 + number % 8
        name = f"tag_{tag:04x}_type_{kind}_count_{size}_value_{value}_{order.decode()}"
        yield name, orientation, _block(order, [(tag, kind, size, value)], orientation)


def _block(order: bytes, tags: list[tuple[int, int, int, int]], orientation: int) -> bytes:
    sign = "<" if order == b"II" else ">"
    entries = [struct.pack(sign + "HHII", *tag) for tag in tags]
    # A short value stands in the first two of the four bytes.
    entries.append(struct.pack(sign + "HHIHH", ORIENTATION, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack_from(sign + "H", entry))
    header = order + struct.pack(sign + "HI", 42, 8) + struct.pack(sign + "H", len(entries))
    return b"Exif\0\0" + header + b"".join(entries) + bytes(4) + bytes(range(64))
