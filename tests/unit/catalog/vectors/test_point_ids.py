import random

import numpy as np
import pytest

from catalog.vectors.point_ids import image_id, point_id

LARGEST = 2**63 - 1


@pytest.mark.parametrize("image", [0, 1, 2, 1_000_000, LARGEST, *(random.Random(0).getrandbits(63) for _ in range(50))])
def test_a_point_leads_back_to_its_image(image: int) -> None:
    assert LARGEST < point_id(image) < 2**64
    assert image_id(point_id(image)) == image


@pytest.mark.parametrize("image", [1, 1_000_000, LARGEST])
def test_a_point_of_an_older_generation_has_the_id_of_its_image(image: int) -> None:
    assert image_id(image) == image


def test_images_with_neighbouring_ids_are_far_apart_in_the_order_of_the_points() -> None:
    points = np.array([point_id(image) for image in range(1, 10_001)], dtype=np.uint64)
    places = np.argsort(np.argsort(points)).astype(np.int64)
    # In random order, the distance is a third of the number on average, and one pair in 5,000 is adjacent.
    distances = np.abs(np.diff(places))
    assert 3200 < distances.mean() < 3500
    assert (distances == 1).sum() < 10
