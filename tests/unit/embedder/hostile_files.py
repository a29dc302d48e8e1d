"""Files made to hang, swell or kill a decoder: name, bytes, and the codes that are right for them."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

from tests.unit.embedder.photographs import encoded, photograph

Hostile = Callable[[], bytes]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb() -> bytes:
    """13,000 × 13,000 pixels in half a megabyte."""
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(1 + 13_000 * 3)) for _ in range(13_000)) + rows.flush()
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def png_text_bomb() -> bytes:
    """A comment that unpacks to 64 MiB."""
    information = PngImagePlugin.PngInfo()
    information.add_text("comment", "x" * (64 << 20), zip=True)
    return encoded(Image.new("RGB", (8, 8)), "PNG", pnginfo=information)


def webp_canvas() -> bytes:
    """An extended WebP whose canvas is 16,384 × 16,384."""
    frame = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    size = (16_383).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([0, 0, 0, 0]) + size + size + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_of_lies() -> bytes:
    """A header of 65,535 × 65,535, and no pixels."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHBB", 0, 0, 65535, 65535, 0, 8)
        + bytes(3)
    )


def tiff_of_lies() -> bytes:
    """Strips that lie far outside of the file."""
    good = bytearray(encoded(Image.new("L", (64, 64)), "TIFF"))
    offset = struct.unpack_from("<I", good, 4)[0]
    for entry in range(struct.unpack_from("<H", good, offset)[0]):
        place = offset + 2 + 12 * entry
        if struct.unpack_from("<H", good, place)[0] == 273:
            struct.pack_into("<I", good, place + 8, 0x7FFFFFF0)
    return bytes(good)


def half(image_format: str) -> Hostile:
    """The first half of a photograph."""

    def cut() -> bytes:
        whole = encoded(photograph(), image_format)
        return whole[: len(whole) // 2]

    return cut


def flipped(image_format: str, seed: int) -> Hostile:
    """A photograph with random bytes in it."""

    def damaged() -> bytes:
        data = bytearray(encoded(photograph(), image_format))
        rng = np.random.default_rng(seed)
        for place in rng.integers(16, len(data), 200):
            data[place] = rng.integers(256)
        return bytes(data)

    return damaged


def postscript() -> bytes:
    """Pillow would have Ghostscript run it."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"


def symbols() -> bytes:
    """An SVG that includes a file."""
    return b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


def xpm() -> bytes:
    """A format that Pillow reads and we do not."""
    return encoded(Image.new("RGB", (4, 4)), "PPM")


def page() -> bytes:
    """What a web server sends instead of an image."""
    return b"<!doctype html><title>404</title>" + io.BytesIO(b" " * 1000).read()


TOO_LARGE: dict[str, Hostile] = {"png_bomb": png_bomb, "webp_canvas": webp_canvas, "gif_of_lies": gif_of_lies}
NO_IMAGE: dict[str, Hostile] = {
    "empty": lambda: b"",
    "one_byte": lambda: b"\xff",
    "html": page,
    "svg": symbols,
    "postscript": postscript,
    "ppm": xpm,
}
DAMAGED: dict[str, Hostile] = {
    "png_text_bomb": png_text_bomb,
    "tiff_of_lies": tiff_of_lies,
    "half_jpeg": half("JPEG"),
    "half_png": half("PNG"),
    "half_webp": half("WEBP"),
    "half_avif": half("AVIF"),
    "half_tiff": half("TIFF"),
    "half_jpeg2000": half("JPEG2000"),
    "half_gif": half("GIF"),
    "half_bmp": half("BMP"),
}
# Whether random damage is noticed is the decoder's affair; that it ends well is ours.
NOISY: dict[str, Hostile] = {
    f"flipped_{name.lower()}_{seed}": flipped(name, seed)
    for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "JPEG2000", "GIF", "BMP")
    for seed in range(3)
}
