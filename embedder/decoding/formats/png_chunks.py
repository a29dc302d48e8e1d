"""The chunks of a PNG file (ISO/IEC 15948): what it says about its samples, and a copy without what is damaged."""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER, DATA, END = b"IHDR", b"IDAT", b"IEND"
# The chunks that change what an image looks like. Others, such as texts and animations, are left out of a copy.
NEEDED = frozenset({HEADER, b"PLTE", DATA, END})
WANTED = frozenset({b"tRNS", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB"})
# The lengths that these chunks have at least.
SHORTEST = {b"iCCP": 3, b"eXIf": 8, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
# That of tRNS, by the colour type in the header: grey, RGB, palette. Others have none.
COLOUR_TYPE = 9
SHORTEST_TRANSPARENCY = {0: 2, 2: 6, 3: 1}
# By which factor Pillow scales grey of fewer bits, by the name of its unpacker.
SCALED_GREY: dict[object, int] = {"L;2": 85, "L;4": 17}
# The most bytes of a text or a profile, decompressed. Larger ones are left out.
MAX_METADATA_BYTES = 16 << 20

_START = struct.Struct(">I4s")
_CHECKSUM = struct.Struct(">I")


@dataclass(frozen=True)
class Chunk:
    """One chunk. start, end: where it is in the file, with its checksum."""

    kind: bytes
    body: memoryview
    checksum: int
    start: int
    end: int

    @property
    def is_valid(self) -> bool:
        """Whether the checksum is right."""
        return zlib.crc32(self.body, zlib.crc32(self.kind)) == self.checksum


def is_png(data: bytes) -> bool:
    """Return whether a file says that it is a PNG."""
    return data.startswith(SIGNATURE)


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the complete chunks of a PNG file, until its end or until something is no chunk."""
    view, start = memoryview(data), len(SIGNATURE)
    while start + _START.size <= len(data):
        length, kind = _START.unpack_from(data, start)
        middle = start + _START.size
        end = middle + length + _CHECKSUM.size
        if end > len(data) or not kind.isalpha():
            return
        checksum = _CHECKSUM.unpack_from(data, middle + length)[0]
        yield Chunk(kind, view[middle : middle + length], checksum, start, end)
        if kind == END:
            return
        start = end


def mend_transparency(image: Image.Image) -> None:
    """Give an opened PNG of 2 or 4 bits the transparent grey that it means, in 8 bits.

    Pillow scales the pixels and not that. Call it before they are loaded.
    """
    grey = image.info.get("transparency")
    if isinstance(image, PngImagePlugin.PngImageFile) and image.mode == "L" and isinstance(grey, int) and image.tile:
        image.info["transparency"] = grey * SCALED_GREY.get(image.tile[0].args, 1)


def declared_maximum(data: bytes) -> float:
    """Return the highest sample value by the first entry of the chunk sBIT; 0 if there is none, or for another file."""
    if not is_png(data):
        return 0.0
    for chunk in chunks(data):
        if chunk.kind == b"sBIT" and len(chunk.body) and chunk.is_valid:
            return 2.0 ** chunk.body[0] - 1
        if chunk.kind == DATA:
            break
    return 0.0


def without_damaged_metadata(data: bytes) -> bytes | None:
    """Return a copy of a PNG with what its pixels need, and valid metadata of limited size.

    Other readers ignore ancillary chunks with a wrong checksum, and texts that they have no room for. Returns None if
    the file is no PNG, or if the copy would be the same.
    """
    if not is_png(data):
        return None
    shortest = {**SHORTEST, b"tRNS": _shortest_transparency(data)}
    kept = [chunk for chunk in chunks(data) if chunk.kind in NEEDED or _is_usable(chunk, shortest)]
    copy = SIGNATURE + b"".join(data[chunk.start : chunk.end] for chunk in kept)
    return copy if len(copy) < len(data) else None


def _shortest_transparency(data: bytes) -> float:
    header = next(chunks(data), None)
    if header is None or header.kind != HEADER or len(header.body) <= COLOUR_TYPE:
        return math.inf
    return SHORTEST_TRANSPARENCY.get(header.body[COLOUR_TYPE], math.inf)


def _is_usable(chunk: Chunk, shortest: dict[bytes, float]) -> bool:
    if chunk.kind not in WANTED or not chunk.is_valid or len(chunk.body) < shortest[chunk.kind]:
        return False
    return chunk.kind != b"iCCP" or _has_readable_profile(bytes(chunk.body))


def _has_readable_profile(body: bytes) -> bool:
    _, _, rest = body.partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        decompressor.decompress(rest[1:], MAX_METADATA_BYTES)
    except zlib.error:
        return False
    return rest[:1] == b"\0" and not decompressor.unconsumed_tail
