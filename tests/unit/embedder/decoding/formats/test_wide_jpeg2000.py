"""White stays white in JPEG 2000 of more than 8 bits, and the header of any other file is left alone."""

import numpy as np
import pytest

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.formats.wide_jpeg2000 import with_one_more_bit
from embedder.decoding.header import prepare_pillow
from servicekit.image_region import Region
from tests.unit.embedder.decoding.formats.jpeg2000_files import FILES
from tests.unit.embedder.decoding.photographs import encoded, small_photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
GREY = 100
# Lossy files ring beside their edges.
ROUNDING = 12


@pytest.mark.parametrize("name", FILES)
def test_white_is_not_black(name: str) -> None:
    found = np.asarray(DECODER.decode(FILES[name]).image).astype(int)
    assert found[:, :4].min() >= 255 - ROUNDING
    assert np.abs(found[:, 4:8] - GREY).max() <= ROUNDING
    assert found[4:, 8:].max() <= ROUNDING
    red = (255, 255, 255) if name.startswith("grey") else (255, 0, 0)
    assert np.abs(found[:4, 8:] - red).max() <= ROUNDING


def test_a_region_is_white_too() -> None:
    region = Region(0.0, 0.0, 0.25, 1.0)
    assert np.asarray(DECODER.decode(FILES["rgb_16_bits_without_loss"], region).image).min() == 255


def test_other_files_are_not_changed() -> None:
    for mode in ("RGB", "L", "RGBA"):
        assert with_one_more_bit(encoded(small_photograph().convert(mode), "JPEG2000")) is None
    assert with_one_more_bit(b"") is None


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_raises_no_error(name: str) -> None:
    for end in range(len(FILES[name])):
        with_one_more_bit(FILES[name][:end])
