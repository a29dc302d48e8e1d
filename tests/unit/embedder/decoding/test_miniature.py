"""Miniatures: small, grey, upright and whole."""

import io

import numpy as np
import pytest
from PIL import Image

from catalog.duplicates.miniatures import SIDE as STORED_SIDE
from catalog.duplicates.miniatures import Miniature
from embedder.decoding.inputs import prepare_inputs
from embedder.decoding.miniature import SIDE, miniature
from tests.unit.embedder.decoding.test_orientation import DECODER


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 200), (21, 32)), ((200, 300), (32, 21)), ((10, 10), (32, 32)), ((5000, 1), (1, 32))]
)
def test_the_longer_side_has_32_pixels_and_no_side_is_empty(size: tuple[int, int], expected: tuple[int, int]) -> None:
    found = miniature(Image.new("RGB", size, "white"))
    assert found.shape == expected
    assert found.dtype == np.uint8
    assert int(found.min()) == 255
    assert SIDE == STORED_SIDE
    assert Miniature(found.shape[1], found.tobytes()).is_valid


def test_it_is_upright_and_shows_the_whole_image() -> None:
    image = Image.new("RGB", (400, 100))
    image.paste((255, 255, 255), (0, 0, 100, 100))
    exif = Image.Exif()
    # Stored turned: upright, the left end is at the top.
    exif[0x0112] = 6
    data = io.BytesIO()
    image.save(data, "PNG", exif=exif)
    found = prepare_inputs(DECODER, data.getvalue(), 0, 0, with_miniature=True).miniature
    assert found is not None
    assert found.shape == (32, 8)
    assert found[:7].min() > 200
    assert found[9:].max() < 50
    assert prepare_inputs(DECODER, data.getvalue(), 0, 0).miniature is None


@pytest.mark.parametrize(
    ("width", "pixels"),
    [(0, b""), (0, b"1"), (4, b""), (4, b"123"), (33, b"1" * 33), (1, b"1" * 33), (32, b"1" * 1056)],
)
def test_what_is_no_miniature_is_not_valid(width: int, pixels: bytes) -> None:
    assert not Miniature(width, pixels).is_valid
    assert Miniature(32, b"1" * 1024).is_valid
