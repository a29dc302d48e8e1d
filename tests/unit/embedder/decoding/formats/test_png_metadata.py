"""What is beside the pixels of a PNG never costs the image, and never much memory."""

import tracemalloc
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.formats.png_chunks import MAX_METADATA_BYTES, without_damaged_metadata
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from tests.unit.embedder.decoding.formats.png_files import HEAD_BYTES, chunk, with_chunks
from tests.unit.embedder.decoding.photographs import encoded, photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
MIB = 1 << 20


@cache
def plain() -> bytes:
    return encoded(photograph().resize((300, 300)), "PNG")


def text(size: int) -> bytes:
    return chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"x" * size))


def international_text(size: int) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * size))


def profile(size: int) -> bytes:
    return chunk(b"iCCP", b"printer\0\0" + zlib.compress(b"x" * size))


def huge_text() -> bytes:
    """Return a text that decompresses to a gigabyte, in a megabyte."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # Every megabyte is the same compressed block.
    block = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return chunk(b"zTXt", b"comment\0\0" + b"\x78\xda" + block * 1024 + b"\3\0" + bytes(4))


ODD = {
    "text_of_1_mib_and_more": lambda: text(MIB * 8 // 5),
    "text_of_almost_16_mib": lambda: text(MAX_METADATA_BYTES - 1),
    "text_of_more_than_16_mib": lambda: text(MAX_METADATA_BYTES + 1),
    "many_texts": lambda: text(MAX_METADATA_BYTES - 1) * 6,
    "xmp_of_1_mib_and_more": lambda: international_text(MIB * 8 // 5),
    "xmp_of_more_than_16_mib": lambda: international_text(MAX_METADATA_BYTES + 1),
    "profile_of_1_mib_and_more": lambda: profile(MIB * 8 // 5),
    "profile_of_more_than_16_mib": lambda: profile(MAX_METADATA_BYTES + 1),
    "profile_in_another_compression": lambda: chunk(b"iCCP", b"printer\0\1" + zlib.compress(b"x")),
    "wrong_checksum_of_a_text": lambda: chunk(b"tEXt", b"Title\0hello", damaged=True),
    "wrong_checksum_of_a_gamma": lambda: chunk(b"gAMA", b"\0\0\0\1", damaged=True),
    "wrong_checksum_of_unknown_metadata": lambda: chunk(b"quUX", b"hello", damaged=True),
    "a_gamma_that_is_too_short": lambda: chunk(b"gAMA", b"\0"),
    "an_animation_that_is_too_short": lambda: chunk(b"acTL", b"\0"),
    "transparency_that_is_too_short": lambda: chunk(b"tRNS", b"\0"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_metadata_does_not_cost_the_image(name: str) -> None:
    found = DECODER.decode(with_chunks(plain(), ODD[name]()))
    assert found.image.tobytes() == DECODER.decode(plain()).image.tobytes()


@pytest.mark.parametrize("name", ["text_of_more_than_16_mib", "wrong_checksum_of_a_text"])
def test_odd_metadata_after_the_pixels_does_not_cost_the_image_either(name: str) -> None:
    end = plain()[-12:]
    found = DECODER.decode(plain()[:-12] + ODD[name]() + end)
    assert found.image.tobytes() == DECODER.decode(plain()).image.tobytes()


def test_a_text_that_expands_to_a_gigabyte_is_skipped_in_little_memory() -> None:
    data = with_chunks(plain(), huge_text())
    tracemalloc.start()
    try:
        found = DECODER.decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.image.size == (300, 300)
    assert peak < 4 * MAX_METADATA_BYTES


def test_metadata_that_says_how_to_turn_the_image_is_kept_if_it_is_valid() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photograph().resize((300, 200)), "PNG", exif=exif.tobytes())
    assert DECODER.decode(with_chunks(data, ODD["wrong_checksum_of_a_text"]())).full_size == (200, 300)


def test_a_wrong_checksum_of_the_header_is_an_error() -> None:
    data = bytearray(plain())
    data[HEAD_BYTES - 1] ^= 1
    with pytest.raises(ImageError):
        DECODER.decode(bytes(data))


def test_a_mended_copy_keeps_transparency() -> None:
    data = encoded(Image.new("RGB", (300, 300), (10, 20, 30)), "PNG", transparency=(10, 20, 30))
    found = DECODER.decode(with_chunks(data, ODD["wrong_checksum_of_a_text"]()))
    assert (np.asarray(found.image) == 255).all()


def test_a_file_without_metadata_has_no_other_copy() -> None:
    assert without_damaged_metadata(plain()) is None
    assert without_damaged_metadata(b"no PNG") is None
