"""Augmented views are repeatable, differ from each other, and still show the photograph."""

import numpy as np

from embedder.decoding.views import augmented_views
from tests.unit.embedder.decoding.photographs import photograph


def test_equal_seeds_have_equal_views() -> None:
    first = augmented_views(photograph(), 4, 7)
    again = augmented_views(photograph(), 4, 7)
    assert [view.tobytes() for view in first] == [view.tobytes() for view in again]


def test_a_view_does_not_depend_on_the_number_of_views() -> None:
    assert augmented_views(photograph(), 1, 7)[0].tobytes() == augmented_views(photograph(), 3, 7)[0].tobytes()


def test_different_views_and_seeds_look_different() -> None:
    views = [view.tobytes() for seed in range(4) for view in augmented_views(photograph(), 4, seed)]
    assert len(set(views)) == len(views)


def test_an_image_of_one_pixel_has_views() -> None:
    tiny = photograph().resize((1, 1))
    assert all(view.mode == "RGB" and min(view.size) >= 1 for view in augmented_views(tiny, 16, 3))


def test_views_still_show_the_photograph() -> None:
    thumbnail = np.asarray(photograph().resize((8, 8)).convert("L"), np.float32).ravel()
    for view in augmented_views(photograph(), 16, 1):
        small = np.asarray(view.resize((8, 8)).convert("L"), np.float32)
        mirrored = small[:, ::-1]
        best = max(np.corrcoef(thumbnail, either.ravel())[0, 1] for either in (small, mirrored))
        assert best > 0.2
