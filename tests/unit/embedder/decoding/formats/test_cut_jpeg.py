"""A JPEG whose end is missing is decoded if little of it is missing, and the outcome says so."""

from functools import cache

import numpy as np
import pytest

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.formats.cut_jpeg import completed
from embedder.decoding.header import prepare_pillow
from embedder.decoding.image_error import ImageError
from embedder.decoding.inputs import prepare_inputs
from tests.unit.embedder.decoding.photographs import encoded, photograph

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
KINDS: dict[str, dict[str, object]] = {
    "sequential": {"quality": 85},
    "progressive": {"quality": 85, "progressive": True},
    "progressive_without_subsampling": {"quality": 92, "subsampling": 0, "progressive": True},
    "with_restart_markers": {"quality": 85, "restart_marker_blocks": 8},
}


@cache
def whole(kind: str, mode: str = "RGB") -> bytes:
    return encoded(photograph("coffee.png").convert(mode), "JPEG", **KINDS[kind])


def difference(found: bytes, expected: bytes) -> float:
    pixels = [np.asarray(DECODER.decode(data).image).astype(np.int16) for data in (found, expected)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [b"", b"\xff"], ids=["nothing", "half_a_marker"])
def test_a_jpeg_without_its_end_marker_shows_all_pixels(kind: str, ending: bytes) -> None:
    data = whole(kind)[:-2] + ending
    assert DECODER.decode(data).truncated
    assert difference(data, whole(kind)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_with_zeros_for_its_end_marker_shows_all_pixels(kind: str) -> None:
    assert difference(whole(kind)[:-2] + b"\0\0", whole(kind)) == 0


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_tenth_may_be_missing(kind: str, mode: str, share: float) -> None:
    data = whole(kind, mode)
    cut = data[: int(len(data) * (1 - share))]
    assert DECODER.decode(cut).truncated
    assert difference(cut, data) < 120 * share


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_much_may_not_be_missing(kind: str, mode: str, share: float) -> None:
    data = whole(kind, mode)
    with pytest.raises(ImageError, match="is missing") as refused:
        DECODER.decode(data[: int(len(data) * (1 - share))])
    assert refused.value.code == "decode_error"


@pytest.mark.parametrize("kind", KINDS)
def test_the_missing_share_is_estimated(kind: str) -> None:
    data = whole(kind)
    for share in (0.05, 0.1, 0.2):
        found = completed(data[: int(len(data) * (1 - share))], DECODER._decode_roughly)
        assert found is not None
        assert found.missing == pytest.approx(share, abs=0.07)


def test_a_file_whose_last_part_is_zeros_is_truncated() -> None:
    data = whole("sequential")
    kept = int(len(data) * 0.95)
    assert DECODER.decode(data[:kept] + bytes(len(data) - kept)).truncated
    with pytest.raises(ImageError):
        DECODER.decode(data[: len(data) // 2] + bytes(len(data) // 2))


@pytest.mark.parametrize("trailer", [b"", b"\0" * 5000, b"trailer", b"\xff\xd8\xff\xe0 a preview"])
def test_a_complete_jpeg_is_not_truncated_whatever_follows_it(trailer: bytes) -> None:
    data = whole("sequential") + trailer
    assert not DECODER.decode(data).truncated
    assert difference(data, whole("sequential")) == 0


def test_the_inputs_carry_the_warning() -> None:
    assert prepare_inputs(DECODER, whole("sequential"), views=0, seed=0).warnings == []
    assert prepare_inputs(DECODER, whole("sequential")[:-2], views=2, seed=0).warnings == ["truncated"]


@pytest.mark.parametrize("size", [20, 200, 600])
def test_a_jpeg_of_which_only_the_header_is_there_is_an_error(size: int) -> None:
    with pytest.raises(ImageError):
        DECODER.decode(whole("sequential")[:size])


@pytest.mark.parametrize("size", [(300, 280), (320, 240), (333, 277)])
def test_a_file_that_lacks_only_its_end_marker_is_truncated(size: tuple[int, int]) -> None:
    data = encoded(photograph().resize(size), "JPEG", quality=90)
    assert [DECODER.decode(part).truncated for part in (data, data + b"trailer", data[:-2])] == [False, False, True]
