"""Small files that take long to decode: thousands of scans, strips, tiles, chunks, frames or layers."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.unit.embedder.decoding.photographs import encoded

Costly = Callable[[], bytes]

START, END = b"\xff\xd8", b"\xff\xd9"
PROGRESSIVE = 0xC2
RUN_BITS = 14


def _marker(number: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, number, len(body) + 2) + body


def _frame(kind: int, side: int) -> bytes:
    quantisation = _marker(0xDB, bytes([0]) + bytes([1]) * 64)
    return START + quantisation + _marker(kind, struct.pack(">BHHBBBB", 8, side, side, 1, 1, 0x11, 0))


def _bits(text: str) -> bytes:
    """Return bits as the data of a scan: filled up with ones, and with the escapes of bytes 255."""
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _runs_of_empty_blocks(blocks: int) -> bytes:
    """Return the data of a scan over so many blocks in which every coefficient is 0 (T.81, G.1.2.2)."""
    text = ""
    while blocks:
        bits = min(RUN_BITS, blocks.bit_length() - 1)
        run = min(blocks, (2 << bits) - 1)
        text += f"{bits:04b}" + (f"{run - (1 << bits):0{bits}b}" if bits else "")
        blocks -= run
    return _bits(text)


def jpeg_of_scans(scans: int, side: int = 6000, *, hidden: bool = False) -> bytes:
    """Return a progressive JPEG, all grey, with so many scans of its coefficients.

    hidden: after a comment that looks like the end of the file.
    """
    blocks = (-(-side // 8)) ** 2
    dc_table = _marker(0xC4, bytes([0x00, 1, *[0] * 15, 0]))
    # 15 codes of 4 bits: the runs of 2^0 to 2^14 blocks.
    ac_table = _marker(0xC4, bytes([0x10, 0, 0, 0, 15, *[0] * 12, *(bits << 4 for bits in range(15))]))
    first = _marker(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + bytes(-(-blocks // 8))
    first += _marker(0xFE, END) if hidden else b""
    data = _runs_of_empty_blocks(blocks)
    others = b"".join(
        _marker(0xDA, bytes([1, 1, 0x00, 1 + number % 63, 1 + number % 63, 0])) + data for number in range(scans)
    )
    return _frame(PROGRESSIVE, side) + dc_table + ac_table + first + others + END


def jpeg_of_segments(count: int) -> bytes:
    """Return a JPEG with so many empty segments of applications before its frame."""
    plain = encoded(Image.new("RGB", (64, 64)), "JPEG")
    return plain[:2] + _marker(0xE5, b"") * count + plain[2:]


def _tiff(entries: list[tuple[int, int, int, int]], rest: bytes) -> bytes:
    """Return a TIFF of one directory. entries: tag, type, count, and value or place in `rest`, counted from its end."""
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries)) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(rest)) + rest + directory


def tiff_of_strips(strips: int) -> bytes:
    """Return an uncompressed TIFF, one pixel wide, that has a strip for each row."""
    offsets = np.full(strips, 8, "<u4").tobytes()
    sizes = np.full(strips, 1, "<u4").tobytes()
    tags = [
        *[(256, 4, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)],
        *[(273, 4, strips, 8), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, strips, 8 + len(offsets))],
    ]
    return _tiff(tags, offsets + sizes)


def tiff_of_tiles(side: int, compression: int = 1) -> bytes:
    """Return a TIFF of side × side tiles, each of 1 × 1 pixel."""
    tiles = side * side
    offsets, sizes = np.full(tiles, 8, "<u4").tobytes(), np.full(tiles, 4, "<u4").tobytes()
    tags = [
        *[(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1)],
        *[(277, 3, 1, 1), (322, 4, 1, 1), (323, 4, 1, 1)],
        *[(324, 4, tiles, 8), (325, 4, tiles, 8 + len(offsets))],
    ]
    return _tiff(tags, offsets + sizes)


def tiff_of_tags(count: int) -> bytes:
    """Return a TIFF with so many tags of its own."""
    own = [(50_000 + number % 15_000, 4, 1, number) for number in range(count)]
    tags = [
        *[(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)],
        *[(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1, 1)],
    ]
    return _tiff(tags + own[: 65_000 - len(tags)], bytes(8))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_chunks(count: int, kind: bytes = b"tEXt", body: bytes = b"a\0b") -> bytes:
    """Return a PNG with so many chunks before its pixels."""
    plain = encoded(Image.new("RGB", (64, 64)), "PNG")
    return plain[:33] + _chunk(kind, body) * count + plain[33:]


def png_of_pieces(count: int) -> bytes:
    """Return a PNG whose pixels are in so many chunks of one byte or none."""
    plain = encoded(Image.new("RGB", (64, 64)), "PNG")
    end = plain.index(b"IDAT") - 4
    length = struct.unpack_from(">I", plain, end)[0]
    body = plain[end + 8 : end + 8 + length]
    pieces = b"".join(_chunk(b"IDAT", body[at : at + 1]) for at in range(len(body)))
    return plain[:end] + _chunk(b"IDAT", b"") * count + pieces + _chunk(b"IEND", b"")


def png_of_texts(count: int, size: int) -> bytes:
    """Return a PNG with so many compressed texts, each of `size` bytes."""
    plain = encoded(Image.new("RGB", (64, 64)), "PNG")
    body = zlib.compress(bytes([65]) * size, 9)
    texts = b"".join(_chunk(b"zTXt", b"k%d\0\0" % number + body) for number in range(count))
    return plain[:33] + texts + plain[33:]


def animated(image_format: str, frames: int, side: int = 8) -> bytes:
    """Return an animation of so many frames."""
    colours = [Image.new("RGB", (side, side), (number % 256, number // 256, 99)) for number in range(frames)]
    options = {"GIF": {"disposal": 2}, "WEBP": {"lossless": True, "method": 0}}.get(image_format, {})
    return encoded(colours[0], image_format, save_all=True, append_images=colours[1:], **options)


def large(image_format: str, side: int = 7000, **options: object) -> bytes:
    """Return about as many pixels as are allowed, in noise of few colours that compresses well."""
    rng = np.random.default_rng(1)
    noise = np.kron(rng.integers(0, 255, (side // 50, side // 50, 3), dtype=np.uint8), np.ones((50, 50, 1), np.uint8))
    return encoded(Image.fromarray(noise), image_format, **options)


def gif_of_blocks(count: int) -> bytes:
    """Return a GIF with so many comments before its pixels."""
    plain = encoded(Image.new("L", (16, 16)), "GIF")
    start = plain.index(b",", 13)
    return plain[:start] + b"\x21\xfe\x01a\0" * count + plain[start:]
