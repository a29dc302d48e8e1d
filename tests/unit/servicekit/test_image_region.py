"""A region names pixels of the upright image, and a wrong one is refused with a reason."""

import math

import pytest

from servicekit.image_region import Region


@pytest.mark.parametrize(
    ("region", "named"),
    [
        (Region(-0.1, 0, 0.5, 0.5), "between 0 and 1"),
        (Region(0, 1.5, 0.5, 0.5), "between 0 and 1"),
        (Region(math.nan, 0, 0.5, 0.5), "between 0 and 1"),
        (Region(0, 0, math.inf, 0.5), "between 0 and 1"),
        (Region(0, 0, 0, 0.5), "greater than 0"),
        (Region(0, 0, 0.5, 0), "greater than 0"),
        (Region(0.6, 0, 0.5, 0.5), "right edge"),
        (Region(0, 0.6, 0.5, 0.5), "lower edge"),
    ],
)
def test_a_region_outside_the_image_has_a_problem(region: Region, named: str) -> None:
    assert named in (region.problem() or "")


@pytest.mark.parametrize("region", [Region(0, 0, 1, 1), Region(0.7 + 0.1, 0.7, 0.2, 0.3), Region(0.5, 0.5, 0.5, 1e-9)])
def test_a_region_inside_the_image_has_none(region: Region) -> None:
    assert region.problem() is None


@pytest.mark.parametrize(
    ("region", "size", "box"),
    [
        (Region(0, 0, 1, 1), (7, 5), (0, 0, 7, 5)),
        (Region(0.1, 0.2, 0.3, 0.4), (100, 50), (10, 10, 40, 30)),
        (Region(0.999, 0.999, 0.001, 0.001), (10, 10), (9, 9, 10, 10)),
        (Region(0.5, 0, 1e-9, 1), (10, 3), (5, 0, 6, 3)),
        (Region(1, 1, 1e-7, 1e-7), (10, 10), (9, 9, 10, 10)),
        (Region(0.5, 0.5, 0.5 + 1e-7, 0.5), (3_000_000, 2), (1_500_000, 1, 3_000_000, 2)),
    ],
)
def test_a_region_has_at_least_one_pixel_and_none_outside_the_image(
    region: Region, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert region.box(size) == box
