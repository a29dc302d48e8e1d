"""Augmented views are repeatable, differ from each other, and still show the photograph."""

import numpy as np
from PIL import Image

from embedder.decoding import views as module
from embedder.decoding.views import MAX_PIXELS, middle_of
from tests.unit.embedder.decoding.photographs import photograph


def augmented_views(image: Image.Image, count: int, seed: int) -> list[Image.Image]:
    return list(module.augmented_views(image, count, seed))


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


def test_a_panorama_is_cut_to_its_middle_before_its_views_are_made() -> None:
    wide = Image.new("RGB", (100_000, 500), "red")
    wide.paste("blue", (40_000, 0, 60_000, 500))
    for panorama in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        middle = middle_of(panorama)
        assert middle.width * middle.height <= MAX_PIXELS
        assert min(middle.size) == 500
        assert middle.getcolors() == [(middle.width * middle.height, (0, 0, 255))]


def test_an_image_that_is_no_panorama_is_not_cut() -> None:
    assert middle_of(photograph()) is photograph()
