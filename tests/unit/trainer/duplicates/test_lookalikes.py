"""Look-alikes: miniatures of the same picture agree, those of two pictures of one motif do not."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from catalog.duplicates.miniatures import Miniature
from embedder.decoding.miniature import miniature
from trainer.duplicates import lookalikes
from trainer.duplicates.lookalikes import COPY, NEAR, Lookalikes
from trainer.duplicates.near_pairs import Pairs
from trainer.duplicates.registration import Canvas
from trainer.duplicates.verdicts import Known, codes_of, from_bytes, to_bytes

WIDTH, HEIGHT = 320, 240


def scene(seed: int, moved: int = 0) -> Image.Image:
    """Return a picture with areas, shapes and texture. moved: by how many pixels a bar is displaced."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(random.integers(0, 255, (24, 32, 3), np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    image = Image.blend(coarse, fine, 0.4)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = random.integers(20, 240), random.integers(20, 160), random.integers(20, 60)
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        draw.ellipse((int(x), int(y), int(x) + int(size), int(y) + int(size)), fill=colour)
    draw.rectangle((120 + moved, 90, 150 + moved, 180), fill=(0, 0, 0), outline=(255, 255, 255), width=5)
    return image


def small(image: Image.Image) -> Miniature:
    grey = miniature(image.convert("RGB"))
    return Miniature(grey.shape[1], grey.tobytes())


def crop(image: Image.Image, left: float, top: float, share: float = 0.6) -> Image.Image:
    width, height = image.width * share**0.5, image.height * share**0.5
    x, y = (image.width - width) * left, (image.height - height) * top
    return image.crop((round(x), round(y), round(x + width), round(y + height)))


def kept(pairs: list[tuple[Image.Image, Image.Image]], score: float = 0.5) -> list[bool]:
    """Return which of these pairs of images are copies, given their similarity in the comparison space."""
    images = [image for pair in pairs for image in pair]
    numbers = np.arange(len(pairs), dtype=np.int64)
    found = Lookalikes(
        Pairs(2 * numbers, 2 * numbers + 1, np.full(len(pairs), score, np.float32)), np.arange(len(images))
    )
    for part in found.parts():
        found.compare(part, {position: small(images[position]) for position in found.images_of(part)})
    copies = set(found.copies().first.tolist())
    return [2 * number in copies for number in range(len(pairs))]


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "crop of the middle": lambda image: crop(image, 0.5, 0.5),
    "crop of a side": lambda image: crop(image, 0.1, 0.8),
    "turned left": lambda image: image.rotate(10, Image.Resampling.BICUBIC, fillcolor=(127, 127, 127)),
    "turned right, black": lambda image: image.rotate(-8, Image.Resampling.BICUBIC),
    "turned, larger": lambda image: image.rotate(7, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255)),
    "grey": ImageOps.grayscale,
    "resized": lambda image: image.resize((96, 72), Image.Resampling.LANCZOS),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "with a border": lambda image: ImageOps.expand(image, 12, (255, 255, 255)),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("score", [NEAR, 0.9])
def test_copies_are_kept_whichever_comes_first(name: str, score: float) -> None:
    scenes = [scene(seed) for seed in range(4)]
    copies = [COPIES[name](image) for image in scenes]
    assert all(kept([*zip(scenes, copies, strict=True), *zip(copies, scenes, strict=True)], score))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_quarter_turns_are_kept_if_the_vectors_are_near(degrees: int) -> None:
    image = scene(0)
    turned = image.rotate(degrees, expand=True)
    assert kept([(image, turned)], COPY) == [True]


def test_other_pictures_are_not_copies_however_near_their_vectors_are() -> None:
    scenes = [scene(seed) for seed in range(8)]
    pairs = [(one, other) for one in scenes for other in scenes if one is not other]
    assert not any(kept(pairs, 0.99))


def test_a_picture_in_which_something_was_moved_is_not_a_copy() -> None:
    """As a pendulum in two photographs from one tripod."""
    assert kept([(scene(3), scene(3, moved=0)), (scene(3), scene(3, moved=70))], 0.9) == [True, False]


def test_pages_without_contrast_are_judged_by_their_vectors() -> None:
    blank, other = Image.new("RGB", (200, 300), "white"), Image.new("RGB", (200, 300), (250, 250, 250))
    assert kept([(blank, other)], COPY) == [True]
    assert kept([(blank, other)], NEAR) == [False]


def test_images_without_miniatures_are_judged_by_their_vectors() -> None:
    pairs = Pairs(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([0.9, COPY, COPY - 0.01], np.float32))
    found = Lookalikes(pairs, np.arange(6))
    for part in found.parts():
        found.compare(part, {0: small(scene(0))})
    assert found.copies().first.tolist() == [0, 1]


def test_the_number_of_comparisons_is_bounded_and_the_most_doubtful_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.array([0.9, 0.36, 0.46, 0.44, 0.6], np.float32)
    pairs = Pairs(np.arange(5), np.arange(5, 10), scores)
    assert np.concatenate(list(Lookalikes(pairs, np.arange(10)).parts())).tolist() == [2, 4, 0, 3, 1]
    monkeypatch.setattr(lookalikes, "LEAST_PAIRS", 0)
    assert np.concatenate(list(Lookalikes(pairs, np.arange(10)).parts())).tolist() == [2, 4]


def test_few_pairs_are_compared_from_far_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(0)
    pairs = [(image, image.rotate(90, expand=True))] * 8
    assert all(kept(pairs))
    monkeypatch.setattr(lookalikes, "LEAST_PAIRS", 8)
    assert sum(kept(pairs)) == 2


def test_strips_and_single_pixels_do_no_harm() -> None:
    strip, dot = Image.new("RGB", (4000, 1), "red"), Image.new("RGB", (1, 1))
    checked = Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (1, 500))).convert("RGB")
    assert len(kept([(strip, dot), (checked, scene(0)), (checked, checked)], 0.9)) == 3


def test_what_an_earlier_search_compared_is_not_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [scene(0), crop(scene(0), 0.5, 0.5), scene(1), scene(2), scene(0).rotate(90, expand=True)]
    small_ones = {position: small(image) for position, image in enumerate(images)}
    # A copy, two different pictures, and a copy that is found from afar.
    first, second = np.array([0, 2, 0]), np.array([1, 3, 4])
    compared: list[bool] = []
    compare = lookalikes.alike

    def noted(one: Canvas, other: Canvas, *, far: bool = False) -> npt.NDArray[np.bool_]:
        compared.extend([far] * len(one.grey))
        return compare(one, other, far=far)

    monkeypatch.setattr(lookalikes, "alike", noted)

    def search(score: float, known: Known) -> tuple[list[int], Known]:
        found = Lookalikes(Pairs(first, second, np.full(3, score, np.float32)), 1000 + np.arange(5), known)
        for part in found.parts():
            found.compare(part, small_ones)
        return sorted(found.copies().second.tolist()), from_bytes(to_bytes(found.verdicts))

    copies, known = search(COPY, Known())
    assert copies == [1, 4]
    assert sorted(known.alike.values()) == [False, True, True]
    assert compared == [False] * 3 + [True] * 2
    compared.clear()
    copies, again = search(COPY, known)
    assert (copies, again.alike) == ([1, 4], known.alike)
    assert compared == []
    # Another picture in place of an image is compared.
    small_ones[1] = small(scene(5))
    assert search(COPY, known)[0] == [4]
    assert compared == [False, True]


def test_pairs_that_were_compared_before_take_part_again_rather_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookalikes, "LEAST_PAIRS", 3)
    monkeypatch.setattr(lookalikes, "PAIRS_OF_IMAGE", 0)
    ids = np.arange(10) * 7 + 10**13
    pairs = Pairs(np.arange(5), np.arange(5, 10), np.array([0.9, 0.36, 0.46, 0.44, 0.6], np.float32))
    compared = codes_of(ids[[1, 3]], ids[[6, 8]]).tolist()
    known = from_bytes(to_bytes({(code, code): True for code in compared}))
    assert np.concatenate(list(Lookalikes(pairs, ids, known).parts())).tolist() == [3, 1, 2]
