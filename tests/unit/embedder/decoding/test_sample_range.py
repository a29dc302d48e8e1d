"""Which sample values become black and white."""

from collections.abc import Iterable

import numpy as np
import pytest

from embedder.decoding.image_error import ImageError
from embedder.decoding.sample_range import Extent, SampleRange, Samples, extent_of, range_of


def found(low: float, high: float, sample_type: str, *, bits: int = 0, declared: float = 0.0) -> tuple[float, float]:
    kind = np.dtype(sample_type)
    scale = range_of(Extent(low, high, high), kind, bits=bits or 8 * kind.itemsize, declared=declared)
    return scale.black, scale.white


@pytest.mark.parametrize(
    ("high", "white"), [(200, 255), (256, 1023), (1023, 1023), (1024, 4095), (16383, 16383), (16384, 65535)]
)
def test_16_bit_samples_have_the_depth_that_their_maximum_needs(high: int, white: int) -> None:
    assert found(0, high, "u2") == (0, white)


def test_a_declared_maximum_counts_in_place_of_a_lower_one() -> None:
    assert found(0, 900, "u2", declared=4095) == (0, 4095)
    # Some writers declare the highest value that there is.
    assert found(0, 900, "u2", declared=3871) == (0, 4095)
    assert found(0, 900, "u2", declared=65535) == (0, 65535)
    assert found(0, 5000, "u2", declared=4095) == (0, 16383)


def test_samples_of_fewer_bits_than_their_container_use_all_of_them() -> None:
    assert found(0, 900, "u2", bits=12) == (0, 4095)


@pytest.mark.parametrize(
    ("sample_type", "low", "high", "expected"),
    [
        ("u4", 0, 4e9, (0, 2**32 - 1)),
        ("i4", 0, 2e9, (0, 2**31 - 1)),
        ("i4", 0, 4000, (0, 4095)),
        ("i4", 0, 60_000, (0, 65535)),
        ("i4", 0, 1_000_000, (0, 1_000_000)),
        ("i4", -1000, 3000, (-1000, 3000)),
        ("i2", -30_000, 30_000, (-30_000, 30_000)),
        ("i2", 0, 30_000, (0, 32767)),
    ],
)
def test_integers_use_the_usual_depths_or_their_own_range(
    sample_type: str, low: float, high: float, expected: tuple[float, float]
) -> None:
    assert found(low, high, sample_type) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.9, (0, 1)),
        (-0.05, 1.0, (0, 1)),
        (-1.0, 1.0, (-1, 1)),
        (0, 4.0, (0, 4)),
        (0, 200.0, (0, 255)),
        (0, 60_000.0, (0, 65535)),
        (0, 1e9, (0, 1e9)),
    ],
)
def test_floats_are_0_to_1_or_the_values_of_an_integer_image(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    assert found(low, high, "f4") == expected


def test_few_floats_above_white_do_not_darken_the_others() -> None:
    samples = np.full(10_000, 0.5, np.float32)
    samples[:50] = 30.0
    assert range_of(extent_of(lambda: [samples], samples.size), samples.dtype, bits=32) == SampleRange(0, 1)


def test_the_extent_leaves_out_what_is_no_finite_number() -> None:
    parts = [np.array([np.nan, 3.0], np.float32), np.array([np.inf, np.nan], np.float32), np.array([-2.0], np.float32)]
    extent = extent_of(lambda: parts, 5)
    assert (extent.low, extent.high) == (-2.0, 3.0)


def test_an_image_without_a_finite_sample_is_refused() -> None:
    def nothing() -> Iterable[Samples]:
        return [np.full(4, np.nan, np.float32)]

    with pytest.raises(ImageError) as refused:
        extent_of(nothing, 4)
    assert refused.value.code == "decode_error"


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(SampleRange(0, 1000), [0, 0, 128, 255, 255]), (SampleRange(1000, 0), [255, 255, 127, 0, 0])],
)
def test_samples_are_scaled_and_clipped(scale: SampleRange, expected: list[int]) -> None:
    assert scale.to_8_bits(np.array([-5, 0, 501, 1000, 2000])).tolist() == expected


def test_what_is_no_number_becomes_black_and_infinite_light_white() -> None:
    samples = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert SampleRange(0, 1).to_8_bits(samples).tolist() == [0, 255, 0]


def test_a_flat_image_is_scaled_without_an_error() -> None:
    assert SampleRange(7, 7).to_8_bits(np.array([7, 7])).tolist() == [0, 0]
