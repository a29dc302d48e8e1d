"""The comparison space: copies are nearer in it than look-alikes."""

import numpy as np
import pytest

from catalog.vectors.projection import Matrix, normalised
from trainer.duplicates import comparison_space
from trainer.duplicates.comparison_space import ComparisonSpace

DIM, IMAGES = 48, 400
# What copies differ in: the first directions. What look-alikes differ in: all others.
COPIED = 8


def noise(seed: int, count: int = IMAGES) -> Matrix:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def change(seed: int) -> Matrix:
    changed = noise(seed)
    changed[:, COPIED:] *= 0.05
    return changed


def test_what_views_differ_in_counts_less() -> None:
    images = 5 + noise(0)
    views = np.stack([images + change(seed) for seed in (1, 2)], axis=1)
    copies = images + change(3)
    alike = 0.6 * noise(4)
    alike[:, :COPIED] = 0
    blind = ComparisonSpace.of(images, [], [])
    space = ComparisonSpace.of(images, [images[:50], images[50:]], [views[:50], views[50:]])

    def gap(made: ComparisonSpace) -> float:
        mapped = made.apply(images)
        to_copies = (mapped * made.apply(copies)).sum(axis=1)
        to_alike = (mapped * made.apply(images + alike)).sum(axis=1)
        return float(np.quantile(to_copies, 0.05) - np.quantile(to_alike, 0.95))

    assert gap(blind) < 0
    assert gap(space) > 0.05


def test_what_all_images_have_in_common_does_not_count() -> None:
    images = 20 + noise(0)
    assert (normalised(images) @ normalised(images).T).min() > 0.9
    mapped = ComparisonSpace.of(images, [], []).apply(images)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    scores = mapped @ mapped.T
    assert abs(np.median(scores[np.triu_indices(IMAGES, k=1)])) < 0.05


def test_few_images_make_a_space_without_infinite_numbers() -> None:
    for images in (noise(0, 1), noise(0, 2), np.repeat(noise(0, 1), 3, axis=0), np.zeros((2, DIM), np.float32)):
        views = np.repeat(images[:, np.newaxis], 4, axis=1)
        for space in (ComparisonSpace.of(images, [], []), ComparisonSpace.of(images, [images], [views])):
            assert np.isfinite(space.apply(images)).all()


def test_two_copies_alone_are_near() -> None:
    image = noise(0, 1)
    pair = np.concatenate([image, image + 0.1 * noise(1, 1)])
    mapped = ComparisonSpace.of(pair, [], []).apply(pair)
    assert float(mapped[0] @ mapped[1]) > 0.9


@pytest.mark.parametrize(("count", "viewed"), [(1, 1), (9, 5), (23, 0), (23, 23)])
def test_the_rows_of_few_images_lead_to_the_same_scores_as_their_moment(
    count: int, viewed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = 2 + noise(0, count)
    views = np.stack([images[:viewed] + change(1)[:viewed], images[:viewed] + change(2)[:viewed]], axis=1)
    shown = [images[: viewed // 2], images[viewed // 2 : viewed]]
    parts = [views[: viewed // 2], views[viewed // 2 :]]
    others = np.concatenate([images, 2 + noise(3, 50)])

    def scores() -> Matrix:
        mapped = ComparisonSpace.of(images, shown, parts).apply(others)
        return mapped @ mapped.T

    from_rows = scores()
    monkeypatch.setattr(comparison_space, "_is_few", lambda *_: False)
    np.testing.assert_allclose(from_rows, scores(), atol=2e-5)
