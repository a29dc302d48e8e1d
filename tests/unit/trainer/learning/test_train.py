"""Training on synthetic vectors: a head is adopted where it helps, and rejected where it would do harm."""

import numpy as np
import pytest

from catalog.vectors.projection import normalised
from tests.unit.trainer.learning.synthetic import (
    BLIND,
    DIM,
    EACH,
    HALF_GROUPED,
    OBJECT_OF,
    OBJECTS,
    PCA,
    SIGNAL,
    VIEWS,
    all_folds,
    half_of_each,
    objects,
    parameters,
    shuffled_groups,
    trained,
)
from trainer.learning.acceptance import MAX_LOSS, decide_adoption
from trainer.learning.chance import groups_are_meaningful
from trainer.learning.dataset import MIN_IMAGES, UNGROUPED, EarlierHead, Labels, Mask, Matrix, TrainingSet
from trainer.learning.evaluation import Evaluation
from trainer.learning.head import train_head
from trainer.learning.retrieval import retrieve
from trainer.learning.train import TrainingResult, adjusted


@pytest.fixture(scope="module")
def learned() -> TrainingResult:
    """A training with meaningful groups."""
    return trained(objects(1), parameters())


def test_meaningful_groups_are_learned(learned: TrainingResult) -> None:
    assert learned.decision.adopted, learned.decision.reason
    assert learned.decision.gain > 0.1
    assert learned.steps > 0


def test_the_learned_head_improves_unseen_images(learned: TrainingResult) -> None:
    data, fresh = objects(1), objects(1).views[:, 0]
    spaces = [rows.astype(np.float32) for rows in (fresh, data.vectors)]
    before = retrieve(spaces[0], data.groups, spaces[1], data.groups).means()["map"]
    tuned = [normalised(rows @ learned.head) for rows in spaces]
    assert retrieve(tuned[0], data.groups, tuned[1], data.groups).means()["map"] > before + 0.1


def test_each_image_is_drawn_as_often_in_the_final_training_as_in_a_fold(learned: TrainingResult) -> None:
    # A fold leaves out a third of the images, and one in ten objects.
    assert learned.steps == pytest.approx(1.5 * parameters().steps, rel=0.2)


@pytest.mark.parametrize(
    ("groups", "steps", "views", "pull", "group_pull"),
    [
        (OBJECT_OF, 40, 1.0, 10.0, 1.0),
        (np.arange(len(OBJECT_OF)) // 3, 52, 1.5, 10.0, 5.0),
        (HALF_GROUPED, 40, 1.5, 25.0, 1.0),
        (np.full(len(OBJECT_OF), UNGROUPED), 40, 1.0, 10.0, 1.0),
    ],
    ids=["large groups", "small groups", "half of the images", "no groups"],
)
def test_the_hyperparameters_suit_the_groups(
    groups: Labels, steps: int, views: float, pull: float, group_pull: float
) -> None:
    found = adjusted(parameters(), objects(1, groups))
    assert (found.steps, found.view_weight) == (steps, views)
    assert (found.pull_weight, found.group_pull_weight) == (pull, group_pull)


def test_quality_contains_the_hyperparameters(learned: TrainingResult) -> None:
    assert learned.quality()["hyperparameters"] == learned.parameters.as_dict()


def test_a_head_can_be_learned_from_views_alone() -> None:
    random = np.random.default_rng(5)
    count, signal = OBJECTS * EACH, 16
    images = np.concatenate([random.normal(size=(count, signal)), 0.3 * random.normal(size=(count, DIM - signal))], 1)
    changes = np.where(np.arange(DIM) < signal, 0.4, 3.0)
    views = images[:, None] + changes * random.normal(size=(count, VIEWS, DIM))
    numbers = np.arange(count)
    data = TrainingSet(
        normalised(images.astype(np.float32)),
        np.full(count, UNGROUPED),
        normalised(views.reshape(-1, DIM).astype(np.float32)).reshape(views.shape),
        numbers,
        numbers,
    )
    found = trained(data, parameters())
    assert found.decision.adopted, found.decision.reason
    assert set(found.decision.metrics) == {"views", "neighbourhood"}


def test_views_that_contradict_the_frozen_space_are_rejected() -> None:
    """What all views of an image share is not what makes images of an object similar."""
    decision = trained(objects(5, np.full(len(OBJECT_OF), UNGROUPED)), parameters(80, pull_weight=0.1)).decision
    # Copies are found more often, but the neighbourhoods change too much.
    assert decision.gain > 0
    assert not decision.adopted
    assert "the frozen space's neighbours" in decision.reason


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_groups_are_not_used(seed: int) -> None:
    data = objects(seed, shuffled_groups(seed))
    assert not groups_are_meaningful(data)
    found = trained(data, parameters(2))
    assert found.adapter in ("pca", "learned_without_groups")
    assert "groups_seen" not in found.decision.metrics


def test_nothing_is_learned_from_too_few_images() -> None:
    data = objects(1)
    few = data.without(np.arange(len(data)) >= MIN_IMAGES - 1)
    assert not trained(few, parameters()).decision.adopted


def test_the_same_seed_returns_the_same_head() -> None:
    first, second = (trained(objects(1), parameters(10)) for _ in range(2))
    assert first.steps > 0
    np.testing.assert_array_equal(first.head, second.head)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_learning_known_groups_hardly_harms_unknown_ones(seed: int) -> None:
    found = trained(objects(seed, HALF_GROUPED), parameters())
    assert found.decision.adopted, found.decision.reason
    unseen = found.decision.metrics["groups_unseen"]
    frozen, adapter = unseen["frozen"], unseen["adapter"]
    assert isinstance(frozen, dict)
    assert isinstance(adapter, dict)
    assert adapter["map"] > frozen["map"] - 2 * MAX_LOSS
    assert 0 < found.mix <= 1


def continued(data: TrainingSet, head: Matrix, fresh: Mask) -> TrainingResult:
    """Return the result of a training that may continue from a head trained on all but the `fresh` images."""
    return trained(data, parameters(), EarlierHead(head, fresh))


def test_an_earlier_head_is_kept_if_training_gains_nothing() -> None:
    data = objects(1)
    # It weakens everything but what tells the objects apart.
    head = PCA * np.where(np.arange(DIM) < SIGNAL, 1, 0.05).astype(np.float32)
    found = continued(data, head, half_of_each(data))
    assert (found.adapter, found.steps) == ("kept", 0), found.decision.reason
    np.testing.assert_array_equal(found.head, head)
    assert set(found.decision.metrics["groups_seen"]) == {"queries", "frozen", "pca", "kept", "adapter"}


def test_training_continues_from_an_earlier_head_if_that_helps() -> None:
    data = objects(1)
    fresh = half_of_each(data)
    # A head that was trained for one step only.
    head = trained(data.without(fresh), parameters(1)).head
    found = continued(data, head, fresh)
    assert (found.adapter, found.continued) == ("learned", True), found.decision.reason


def test_training_does_not_start_from_a_harmful_earlier_head() -> None:
    data = objects(1)
    found = continued(data, BLIND, half_of_each(data))
    assert (found.adapter, found.continued) == ("learned", False), found.decision.reason


def test_an_overfitted_earlier_head_is_not_adopted() -> None:
    data = objects(1, shuffled_groups(1))
    fresh = half_of_each(data)
    unregularised = parameters(80, pull_weight=0.0, group_pull_weight=0.0)
    overfitted = train_head(data.without(fresh), PCA, unregularised, lambda _: None)
    evaluation = Evaluation(1.0)
    for fold in all_folds(data.without(fresh)):
        evaluation.add(fold, "pca", PCA)
        evaluation.add(fold, "frozen", None)
        evaluation.add(fold, "adapter", overfitted)
    # On the images that it was trained on it looks good.
    assert decide_adoption(evaluation, "adapter", ["pca"]).adopted
    assert continued(data, overfitted, fresh).adapter != "learned"
