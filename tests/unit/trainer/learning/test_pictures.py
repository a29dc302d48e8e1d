"""Pictures: equal and nearly equal images are one."""

import numpy as np
import pytest

from catalog.vectors.projection import normalised
from trainer.learning import pictures as module
from trainer.learning.chance import group_score, groups_are_meaningful
from trainer.learning.dataset import UNGROUPED, Labels, Matrix, TrainingSet
from trainer.learning.holdout import VIEWS, folds
from trainer.learning.pictures import same_pictures

DIM = 32


def photographs(count: int, seed: int = 0) -> Matrix:
    return normalised(np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32))


@pytest.mark.parametrize("all_pairs", [1000, 10])
def test_equal_and_nearly_equal_images_are_one_picture(all_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_PAIRS", all_pairs)
    once = photographs(60)
    again = once.copy() if all_pairs == 10 else normalised(once + 0.01 * photographs(60, 1))
    found = same_pictures(np.concatenate([once, again]))
    np.testing.assert_array_equal(found, np.tile(np.arange(60), 2))


def test_pictures_are_not_joined_through_a_third_image() -> None:
    angles = np.arange(40) * 0.1
    row = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = same_pictures(row)
    cosines = (row * row[found]).sum(axis=1)
    assert cosines.min() > module.SAME_PICTURE


def training_set(vectors: Matrix, groups: Labels) -> TrainingSet:
    count = len(vectors)
    noise = np.random.default_rng(2).normal(size=(count, 2, DIM)).astype(np.float32)
    views = normalised((vectors[:, None] + 0.02 * noise).reshape(-1, DIM)).reshape(count, 2, DIM)
    return TrainingSet(vectors, groups, views, np.arange(count), same_pictures(vectors))


def test_photographs_in_two_entries_are_found_by_their_views() -> None:
    vectors = np.tile(photographs(60), (2, 1))
    data = training_set(vectors, np.full(120, UNGROUPED))
    for split in folds(data, np.ones(120, dtype=bool), 0):
        (views,) = (query_set for query_set in split.query_sets if query_set.name == VIEWS)
        for relevant in views.relevant:
            assert len(relevant) == 2
        # Neither row of a query's picture is trained on.
        trained = {row.tobytes() for row in split.training.vectors}
        queries = {split.gallery[relevant[0]].tobytes() for relevant in views.relevant}
        assert not trained & queries


@pytest.mark.parametrize("size", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", range(8))
def test_shuffled_groups_are_meaningless(seed: int, size: int) -> None:
    groups = np.random.default_rng(seed).permutation(np.arange(200) // size)
    assert not groups_are_meaningful(training_set(photographs(200, seed), groups))


@pytest.mark.parametrize("size", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", range(8))
def test_genuine_groups_are_meaningful(seed: int, size: int) -> None:
    groups = np.arange(200) // size
    centres = photographs(200, seed)[groups]
    vectors = normalised(centres + photographs(200, seed + 100))
    assert groups_are_meaningful(training_set(vectors, groups))


def test_a_picture_that_is_listed_twice_in_an_entry_proves_nothing() -> None:
    vectors = np.repeat(photographs(60), 2, axis=0)
    assert group_score(training_set(vectors, np.arange(120) // 2)) == 0.0
