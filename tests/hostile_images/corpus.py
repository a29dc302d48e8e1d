"""More than a thousand hostile image files, always the same: bombs, cut and damaged files, polyglots, odd metadata."""

import random
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image, PngImagePlugin

from embedder.decoding.header import prepare_pillow
from tests.hostile_images import costly
from tests.hostile_images.exif import exif_blocks
from tests.unit.embedder.decoding import hostile_files
from tests.unit.embedder.decoding.photographs import encoded, photograph

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000", "HEIF")
NOISY_OF_EACH, EXIF_BLOCKS = 20, 120
PREFIXES = {
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04",
    "html": b"<!doctype html><script>alert(1)</script>",
    "elf": b"\x7fELF",
    "postscript": b"%!PS-Adobe-3.0\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}

File = tuple[str, bytes]


def hostile_corpus() -> Iterator[File]:
    """Yield names and files. Each must get a vector or an error with a code."""
    # So that HEIF can be written.
    prepare_pillow()
    yield from _truncated()
    yield from _noisy()
    yield from _polyglots()
    yield from _odd_metadata()
    yield from _odd_samples()
    yield from costly_files()
    others = {**hostile_files.TOO_LARGE, **hostile_files.NOT_AN_IMAGE, **hostile_files.DAMAGED}
    yield from ((name, make()) for name, make in others.items())


@cache
def _small(image_format: str) -> bytes:
    return encoded(photograph().resize((96, 72)), image_format)


def _truncated() -> Iterator[File]:
    """Yield every format cut off at every per cent."""
    for image_format in FORMATS:
        whole = _small(image_format)
        for percent in range(100):
            yield f"{image_format}_cut_at_{percent}", whole[: len(whole) * percent // 100]


def _noisy() -> Iterator[File]:
    """Yield every format with random bytes, in its header in particular."""
    for image_format in FORMATS:
        for seed in range(NOISY_OF_EACH):
            rng, data = random.Random(seed), bytearray(_small(image_format))
            end = 120 if seed % 2 else len(data)
            for _ in range(1 + seed):
                data[rng.randrange(2, end)] = rng.randrange(256)
            yield f"{image_format}_noise_{seed}", bytes(data)


def _polyglots() -> Iterator[File]:
    """Yield files of two kinds at once, and headers of one format before the data of another."""
    for image_format in FORMATS:
        whole = _small(image_format)
        for name, prefix in PREFIXES.items():
            yield f"{name}_before_{image_format}", prefix + whole
            yield f"{name}_behind_{image_format}", whole + prefix * 100
        for other in FORMATS:
            if other != image_format:
                yield f"{image_format}_header_before_{other}", whole[:32] + _small(other)[32:]


def _odd_metadata() -> Iterator[File]:
    for image_format in ("JPEG", "PNG", "WEBP"):
        for name, _, block in exif_blocks(seed=2, count=EXIF_BLOCKS // 3):
            yield f"{image_format}_{name}", encoded(photograph().resize((24, 18)), image_format, exif=block)
    small = photograph().resize((24, 18))
    yield "jpeg_xmp", encoded(small, "JPEG", xmp=b"<x:xmpmeta tiff:Orientation='" + b"9" * 60_000 + b"'>")
    yield "png_profile_bomb", costly.png_of_texts(60, (16 << 20) - 9)
    yield "damaged_profile", encoded(small, "PNG", icc_profile=b"\0\0\2\x0cADBE" + bytes(600))
    for size in (1 << 20, 20 << 20):
        text = PngImagePlugin.PngInfo()
        text.add_text("comment", "a" * size, zip=True)
        yield f"png_text_of_{size}", encoded(small, "PNG", pnginfo=text)


def _odd_samples() -> Iterator[File]:
    """Yield samples of 16 and 32 bits, without finite numbers, and sizes of nothing and of very little."""
    for kind in (np.uint16, np.float32, np.int32):
        grey = Image.fromarray(np.arange(48 * 48).reshape(48, 48).astype(kind))
        yield f"tiff_{np.dtype(kind).name}", encoded(grey, "TIFF")
    for value in (np.nan, np.inf, -np.inf, np.finfo(np.float32).max):
        yield f"tiff_of_{value}", encoded(Image.fromarray(np.full((8, 8), value, np.float32)), "TIFF")
    yield "png_uint16", encoded(Image.fromarray(np.arange(48 * 48).reshape(48, 48).astype(np.uint16)), "PNG")
    for size in ((1, 1), (1, 20_000), (20_000, 1)):
        for image_format in ("PNG", "JPEG", "TIFF", "WEBP"):
            if image_format != "WEBP" or max(size) <= 16_383:
                yield f"{image_format}_of_{size[0]}x{size[1]}", encoded(Image.new("RGB", size), image_format)
    for width, height in ((0, 0), (0, 1), (0x7FFFFFFF, 1), (0xFFFFFFFF, 0xFFFFFFFF)):
        header = bytearray(_small("PNG"))
        struct.pack_into(">II", header, 16, width, height)
        yield f"png_of_{width}x{height}", bytes(header)


def costly_files() -> Iterator[File]:
    """Yield files of very many parts."""
    yield "jpeg_of_5000_scans", costly.jpeg_of_scans(5000, 6000)
    yield "jpeg_of_5000_small_scans", costly.jpeg_of_scans(5000, 64)
    yield "jpeg_of_segments", costly.jpeg_of_segments(500_000)
    yield "tiff_of_strips", costly.tiff_of_strips(500_000)
    yield "tiff_of_tiles", costly.tiff_of_tiles(600)
    yield "tiff_of_damaged_tiles", costly.tiff_of_tiles(100, compression=8)
    yield "tiff_of_tags", costly.tiff_of_tags(60_000)
    yield "png_of_chunks", costly.png_of_chunks(300_000)
    yield "png_of_pieces", costly.png_of_pieces(300_000)
    yield "gif_of_comments", costly.gif_of_blocks(300_000)
    for image_format in ("GIF", "WEBP", "PNG"):
        yield f"animated_{image_format}", costly.animated(image_format, 500)
