"""Files that try to hang or crash a decoder or to exhaust its memory, by the error that they must cause."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.unit.embedder.decoding.photographs import encoded, small_file

Hostile = Callable[[], bytes]
STRIP_OFFSETS = 273


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb() -> bytes:
    """Return 13,000 × 13,000 black pixels in less than a megabyte."""
    side = 13_000
    row = bytes(1 + side * 3)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # Every row is the same compressed block; the last bytes are the end of the stream and its checksum.
    block = compressor.compress(row) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = (side * len(row)) % 65521 << 16 | 1
    body = b"\x78\xda" + block * side + b"\x03\0" + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def webp_canvas() -> bytes:
    """Return an extended WebP with a canvas of 16,384 × 16,384 pixels."""
    frame = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    size = (16_383).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([0, 0, 0, 0]) + size + size + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_without_pixels() -> bytes:
    """Return a GIF whose header promises 65,535 × 65,535 pixels, and nothing else."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHBB", 0, 0, 65535, 65535, 0, 8)
        + bytes(3)
    )


def gif_of_a_large_frame() -> bytes:
    """Return a GIF of 16 × 16 pixels whose first frame is far larger, and is removed before the next one."""
    good = bytearray(encoded(Image.new("L", (16, 16)), "GIF"))
    frame = good.index(b",", 13)
    struct.pack_into("<HHHH", good, frame + 1, 65535, 65535, 65535, 65535)
    return bytes(good[:frame]) + b"garbage!\xf9\x04\x08\0\0\0\0" + bytes(good[frame:])


def tiff_without_strips() -> bytes:
    """Return a TIFF whose strips are far behind the end of the file."""
    good = bytearray(encoded(Image.new("L", (64, 64)), "TIFF"))
    offset = struct.unpack_from("<I", good, 4)[0]
    for entry in range(struct.unpack_from("<H", good, offset)[0]):
        position = offset + 2 + 12 * entry
        if struct.unpack_from("<H", good, position)[0] == STRIP_OFFSETS:
            struct.pack_into("<I", good, position + 8, 0x7FFFFFF0)
    return bytes(good)


def half(image_format: str) -> Hostile:
    """Return a function that makes the first half of a photograph."""

    def cut() -> bytes:
        whole = small_file(image_format)
        return whole[: len(whole) // 2]

    return cut


def with_noise(image_format: str, seed: int) -> Hostile:
    """Return a function that makes a photograph with 200 random bytes."""

    def damaged() -> bytes:
        data = bytearray(small_file(image_format))
        rng = np.random.default_rng(seed)
        for position in rng.integers(16, len(data), 200):
            data[position] = rng.integers(256)
        return bytes(data)

    return damaged


def postscript() -> bytes:
    """Return PostScript, for which Pillow would run Ghostscript."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"


def svg() -> bytes:
    """Return an SVG that includes a local file."""
    return b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def ppm() -> bytes:
    """Return an image of a format that Pillow supports and we do not."""
    return encoded(Image.new("RGB", (4, 4)), "PPM")


def web_page() -> bytes:
    """Return the page that a web server sends for a missing image."""
    return b"<!doctype html><title>404</title>" + b" " * 1000


TOO_LARGE: dict[str, Hostile] = {
    "png_bomb": png_bomb,
    "webp_canvas": webp_canvas,
    "gif_without_pixels": gif_without_pixels,
    "gif_of_a_large_frame": gif_of_a_large_frame,
}
NOT_AN_IMAGE: dict[str, Hostile] = {
    "empty": lambda: b"",
    "one_byte": lambda: b"\xff",
    "html": web_page,
    "svg": svg,
    "postscript": postscript,
    "ppm": ppm,
}
DAMAGED: dict[str, Hostile] = {
    "tiff_without_strips": tiff_without_strips,
    "half_jpeg": half("JPEG"),
    "half_png": half("PNG"),
    "half_webp": half("WEBP"),
    "half_avif": half("AVIF"),
    "half_tiff": half("TIFF"),
    "half_jpeg2000": half("JPEG2000"),
    "half_gif": half("GIF"),
    "half_bmp": half("BMP"),
}
# Decoders accept some of these and reject others.
NOISY: dict[str, Hostile] = {
    f"noisy_{name.lower()}_{seed}": with_noise(name, seed)
    for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "JPEG2000", "GIF", "BMP")
    for seed in range(3)
}
