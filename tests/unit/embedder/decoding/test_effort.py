"""A file with so many parts that it would take long to decode is refused at once, and photographs are not."""

import time
from collections.abc import Callable

import pytest
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.effort import MAX_TIFF_SEGMENTS
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from tests.hostile_images import costly
from tests.unit.embedder.decoding.photographs import encoded, small_photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
REFUSED: dict[str, Callable[[], bytes]] = {
    "jpeg_scans": lambda: costly.jpeg_of_scans(5000, 6000),
    "jpeg_scans_of_few_pixels": lambda: costly.jpeg_of_scans(5000, 64),
    "jpeg_segments": lambda: costly.jpeg_of_segments(1_000_000),
    "tiff_strips": lambda: costly.tiff_of_strips(2_000_000),
    "tiff_tiles": lambda: costly.tiff_of_tiles(900),
    "png_chunks": lambda: costly.png_of_chunks(1_300_000),
    "png_pieces": lambda: costly.png_of_pieces(1_700_000),
    "gif_blocks": lambda: costly.gif_of_blocks(1_000_000),
}
ALLOWED: dict[str, Callable[[], bytes]] = {
    "progressive": lambda: encoded(small_photograph(), "JPEG", progressive=True),
    "jpeg_scans": lambda: costly.jpeg_of_scans(20, 64),
    "jpeg_segments": lambda: costly.jpeg_of_segments(1000),
    "tiff_strips": lambda: costly.tiff_of_strips(10_000),
    "png_chunks": lambda: costly.png_of_chunks(1000),
    "gif_blocks": lambda: costly.gif_of_blocks(1000),
    "gif_frames": lambda: costly.animated("GIF", 300),
    "webp_frames": lambda: costly.animated("WEBP", 300),
    "png_frames": lambda: costly.animated("PNG", 300),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_too_many_parts_is_refused_at_once(name: str) -> None:
    data = REFUSED[name]()
    before = time.process_time()
    with pytest.raises(ImageError) as refused:
        DECODER.decode(data)
    # One of them took nine seconds.
    assert time.process_time() - before < 0.5
    assert refused.value.code == "image_too_slow"
    assert "the limit is" in refused.value.message


@pytest.mark.parametrize("name", ALLOWED)
def test_an_unusual_number_of_parts_is_allowed(name: str) -> None:
    assert DECODER.decode(ALLOWED[name]()).image.size >= (1, 1)


def test_what_follows_a_jpeg_does_not_count_as_its_scans() -> None:
    film = b"\xff\xda" * 5000
    assert DECODER.decode(encoded(small_photograph(), "JPEG") + film + b"\xff\xd9").full_size == (320, 240)


@pytest.mark.parametrize("kind", [0xC0, 0xC2])
def test_the_scans_of_a_frame_that_needs_several_are_counted(kind: int) -> None:
    plain = encoded(small_photograph(), "JPEG")
    place = plain.index(b"\xff\xda")
    # The first scan has one of three components, so that others must follow.
    scans = plain[:place].replace(b"\xff\xc0", bytes([0xFF, kind])) + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 2000
    with pytest.raises(ImageError, match="scans"):
        DECODER.decode(scans)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_strips_of_a_big_tiff_are_counted(order: str) -> None:
    data = encoded(Image.new("L", (1, 10)), "TIFF", big_tiff=True)
    assert data[:4] in (b"II+\0", b"MM\0+")
    assert DECODER.decode(data).full_size == (1, 10)
    number = (MAX_TIFF_SEGMENTS + 1).to_bytes(8, "little" if order == "<" else "big")
    start = b"II+\0\x08\0\0\0" if order == "<" else b"MM\0+\0\x08\0\0"
    place = (16).to_bytes(8, "little" if order == "<" else "big")
    one, tag, kind = (
        value.to_bytes(size, "little" if order == "<" else "big") for value, size in ((1, 8), (273, 2), (4, 2))
    )
    with pytest.raises(ImageError, match="strips"):
        DECODER.decode(start + place + one + tag + kind + number + bytes(16))
