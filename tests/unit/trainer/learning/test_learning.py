"""Training on synthetic vectors: a head is adopted where it helps, and rejected where it would do harm."""

import numpy as np
import pytest

from catalog.vectors.projection import normalised
from trainer.learning.acceptance import ENOUGH_QUESTIONS, MAX_LOSS, Examination, Verdict, judge, judge_again
from trainer.learning.chance import groups_mean_something
from trainer.learning.dataset import (
    MIN_IMAGES,
    UNGROUPED,
    Earlier,
    Labels,
    Mask,
    Matrix,
    TrainingSet,
    usable_groups,
)
from trainer.learning.evaluation import retrieve
from trainer.learning.head import Hyperparameters, train_head
from trainer.learning.holdout import FOLDS, Holdout, Part, folds, fresh_questions
from trainer.learning.losses import NEAR_IDENTICAL
from trainer.learning.train import Learned, learn

DIM = 24
OBJECTS = 16
EACH = 10
VIEWS = 2
PCA = np.eye(DIM, dtype=np.float32)


def objects(seed: int, groups: Labels | None = None) -> TrainingSet:
    """Images of objects: a few directions tell which object, all the others and louder ones mean nothing."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(OBJECTS), EACH)
    signal = random.normal(size=(OBJECTS, 4))[truth]
    noise = random.normal(size=(len(truth), DIM - 4)) * 1.2

    def seen(strength: float) -> Matrix:
        changed = noise + strength * random.normal(size=noise.shape)
        return np.concatenate([signal + 0.1 * random.normal(size=signal.shape), changed], axis=1).astype(np.float32)

    def unit(rows: Matrix) -> Matrix:
        lengths: Matrix = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / lengths).astype(np.float32)

    views = np.stack([unit(seen(2.5)) for _ in range(VIEWS)], axis=1)
    numbers = np.arange(len(truth))
    return TrainingSet(unit(seen(0.0)), truth if groups is None else groups, views, numbers, numbers)


def settings(
    steps: int = 100, *, pull_weight: float = 10.0, group_pull_weight: float = 1.0, view_weight: float = 1.0
) -> Hyperparameters:
    """A training for data that has to change much more than a backbone's vectors."""
    return Hyperparameters(
        steps=steps,
        batch_size=128,
        learning_rate=0.01,
        view_weight=view_weight,
        pull_weight=pull_weight,
        group_pull_weight=group_pull_weight,
    )


def learnt(data: TrainingSet, steps: int = 100) -> Learned:
    return learn(data, PCA, None, settings(steps), lambda _: None)


def split_up(data: TrainingSet) -> list[Holdout]:
    return list(folds(data, np.ones(len(data), dtype=bool), 0))


def shuffled(seed: int) -> Labels:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(OBJECTS), EACH))


def test_meaningful_groups_are_learned() -> None:
    found = learnt(objects(1))
    assert found.verdict.adopted, found.verdict.reason
    assert found.verdict.gain > 0.1
    assert found.steps > 0


def test_the_learned_head_improves_unseen_images() -> None:
    data, head = objects(1), learnt(objects(1)).head
    fresh = objects(1).views[:, 0]
    spaces = [rows.astype(np.float32) for rows in (fresh, data.vectors)]
    before = retrieve(spaces[0], data.groups, spaces[1], data.groups).means()["map"]
    tuned = [normalised(rows @ head) for rows in spaces]
    assert retrieve(tuned[0], data.groups, tuned[1], data.groups).means()["map"] > before + 0.1


def test_a_head_can_be_learned_from_views_alone() -> None:
    random = np.random.default_rng(5)
    count, telling = OBJECTS * EACH, 16
    images = np.concatenate([random.normal(size=(count, telling)), 0.3 * random.normal(size=(count, DIM - telling))], 1)
    changes = np.where(np.arange(DIM) < telling, 0.4, 3.0)
    views = images[:, None] + changes * random.normal(size=(count, VIEWS, DIM))
    numbers = np.arange(count)
    data = TrainingSet(
        normalised(images.astype(np.float32)),
        np.full(count, UNGROUPED),
        normalised(views.reshape(-1, DIM).astype(np.float32)).reshape(views.shape),
        numbers,
        numbers,
    )
    found = learnt(data)
    assert found.verdict.adopted, found.verdict.reason
    assert set(found.verdict.parts) == {"views", "neighbourhood"}


def test_views_that_contradict_the_frozen_space_are_refused() -> None:
    """What stays the same in all views of an image is not what makes images alike."""
    data = objects(5, np.full(OBJECTS * EACH, UNGROUPED))
    assert not learn(data, PCA, None, settings(200, pull_weight=0.1), lambda _: None).verdict.adopted


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_groups_are_rejected(seed: int) -> None:
    data = objects(seed, shuffled(seed))
    assert not groups_mean_something(data)
    found = learnt(data)
    assert found.adapter in ("pca", "learned_without_groups")
    assert "groups_seen" not in found.verdict.parts


def test_nothing_is_learned_from_too_few_images() -> None:
    data = objects(1)
    few = data.without(np.arange(len(data)) >= MIN_IMAGES - 1)
    assert not learnt(few).verdict.adopted


def test_the_same_seed_returns_the_same_head() -> None:
    np.testing.assert_array_equal(learnt(objects(1), 50).head, learnt(objects(1), 50).head)


def test_unknown_groups_are_queried_if_half_of_the_images_have_no_group() -> None:
    half = np.where(np.repeat(np.arange(OBJECTS), EACH) % 2, UNGROUPED, np.repeat(np.arange(OBJECTS), EACH))
    assert {part.name for split in split_up(objects(1, half)) for part in split.parts} == {
        "groups_seen",
        "groups_unseen",
        "views",
        "neighbourhood",
    }


def test_no_query_is_in_the_training_set() -> None:
    data = objects(3)
    for split in split_up(data):
        known = {row.tobytes() for row in split.training.vectors}
        for part in split.parts:
            assert not known & {row.tobytes() for row in part.queries}
            assert all(len(right) for right in part.right)


def test_every_grouped_image_is_a_query_exactly_once() -> None:
    data = objects(3)
    for name in ("groups_seen", "views"):
        parts = [part for split in split_up(data) for part in split.parts if part.name == name]
        asked = [row.tobytes() for part in parts for row in part.queries]
        assert len(asked) == len(set(asked)) == len(data)
    assert len(split_up(data)) == FOLDS


def test_a_group_of_one_image_or_of_most_images_is_ignored() -> None:
    groups = np.array([1, 2, 2, 3, 3, 3, 3, 3, 3])
    assert usable_groups(groups).tolist() == [UNGROUPED, 2, 2, *[UNGROUPED] * 6]


def test_metrics_follow_their_usual_definitions() -> None:
    database = np.eye(4, dtype=np.float32)
    query = np.array([[0.9, 0.8, 0.7, 0.1]], dtype=np.float32)
    found = retrieve(query, np.array([7]), database, np.array([5, 7, 5, 7]))
    # Right ones on places 2 and 4: (1/2 + 2/4) / 2.
    assert found.means() == {"map": 0.5, "map_at_10": 0.5, "recall_at_1": 0.0, "recall_at_10": 1.0}


@pytest.mark.parametrize(("grouped", "gain"), [(0.75, 0.375), (0.25, 0.125)])
def test_queries_are_weighted_by_the_share_of_images_of_their_kind(grouped: float, gain: float) -> None:
    queries = np.array([[0.9, 0.4], [0.4, 0.9]], dtype=np.float32)
    # The right answer to each question comes second in the frozen space.
    none = np.arange(0)
    seen, unseen = (
        Part(name, queries[[row]], [np.array([1 - row])], [none])
        for row, name in ((0, "groups_seen"), (1, "groups_unseen"))
    )
    images = np.eye(2, dtype=np.float32)
    data = TrainingSet(images, np.arange(2), images[:0, None], none, np.arange(2))
    holdout = Holdout(data, images, (seen, unseen), Part("unrelated", images[:0], [], []))
    examination = Examination(grouped)
    examination.ask(holdout, "frozen", None)
    # The second direction counts for more: that answers the first question.
    examination.ask(holdout, "adapter", np.diag([0.1, 1.0]).astype(np.float32))
    assert examination.gain("adapter", "frozen")[0] == pytest.approx(gain)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_learning_known_groups_hardly_harms_unknown_ones(seed: int) -> None:
    truth = np.repeat(np.arange(OBJECTS), EACH)
    found = learnt(objects(seed, np.where(truth % 2, UNGROUPED, truth)), 200)
    assert found.verdict.adopted, found.verdict.reason
    unseen = found.verdict.parts["groups_unseen"]
    frozen, adapter = unseen["frozen"], unseen["adapter"]
    assert isinstance(frozen, dict)
    assert isinstance(adapter, dict)
    assert adapter["map"] > frozen["map"] - 2 * MAX_LOSS
    assert 0 < found.mix <= 1


def test_an_adapter_is_rejected_without_held_out_images() -> None:
    assert not judge(Examination(1.0), "adapter", ["pca"]).adopted


def again(head: Matrix, *, asked: int = 60) -> Verdict:
    """The verdict on a head that learnt from all but the last `asked` images."""
    data, examination = objects(4), Examination(1.0)
    # Amplify the dimensions that tell objects apart, so that there is something to lose.
    loudness = np.where(np.arange(DIM) < 4, 4, 1).astype(np.float32)
    data = TrainingSet(normalised(data.vectors * loudness), data.groups, data.views, data.viewed, data.pictures)
    questions = fresh_questions(data, np.arange(len(data)) >= len(data) - asked, seed=0)
    examination.ask(questions, "frozen", None)
    examination.ask(questions, "adapter", head)
    return judge_again(examination, "adapter")


def test_a_head_is_kept_only_if_it_does_not_harm_new_images() -> None:
    kept, given_up = again(PCA), again(np.eye(DIM, 16, -8, dtype=np.float32))
    assert kept.adopted, kept.reason
    assert not given_up.adopted
    assert kept.parts["groups_seen"]["queries"] == 60


def test_a_few_queries_cannot_reject_an_adopted_adapter() -> None:
    found = again(np.eye(DIM, 16, -8, dtype=np.float32), asked=ENOUGH_QUESTIONS // 2)
    assert found.parts
    assert found.adopted


def test_quality_contains_the_hyperparameters() -> None:
    found = learnt(objects(1), 50)
    assert found.quality()["hyperparameters"] == found.parameters.as_dict()


def going_on(data: TrainingSet, head: Matrix, fresh: Mask) -> Learned:
    """Return the result of a training that may continue from a head trained on all but the `fresh` images."""
    return learn(data, PCA, Earlier(head, fresh), settings(), lambda _: None)


def some_of_each(data: TrainingSet) -> Mask:
    return np.arange(len(data)) % EACH >= EACH // 2


def test_only_images_that_are_new_to_an_earlier_head_are_queries() -> None:
    half = np.where(np.repeat(np.arange(OBJECTS), EACH) % 2, UNGROUPED, np.repeat(np.arange(OBJECTS), EACH))
    data = objects(1, half)
    # Some objects have new images, and some are entirely new.
    fresh = some_of_each(data) | (np.arange(len(data)) >= EACH * (OBJECTS - 4))
    known = {row.tobytes() for row in data.vectors[~fresh]} | {
        row.tobytes() for row in data.views[~fresh].reshape(-1, DIM)
    }
    splits = list(folds(data, fresh, 0))
    parts = [part for split in splits for part in split.parts]
    assert {part.name for part in parts} == {"groups_seen", "groups_unseen", "views", "neighbourhood"}
    assert not known & {row.tobytes() for part in parts for row in part.queries}
    hidden = {
        int(data.groups[image])
        for part in parts
        if part.name == "groups_unseen"
        for right in part.right
        for image in right
    }
    assert hidden <= set(range(OBJECTS - 4, OBJECTS))


def test_an_earlier_head_is_kept_if_training_gains_nothing() -> None:
    data = objects(1)
    # It looks at what tells the objects apart, and at little else.
    head = PCA * np.where(np.arange(DIM) < 4, 1, 0.05).astype(np.float32)
    found = going_on(data, head, some_of_each(data))
    assert (found.adapter, found.steps) == ("kept", 0), found.verdict.reason
    np.testing.assert_array_equal(found.head, head)
    assert set(found.verdict.parts["groups_seen"]) == {"queries", "frozen", "pca", "kept", "adapter"}


def test_training_continues_from_an_earlier_head_if_that_helps() -> None:
    data = objects(1)
    fresh = some_of_each(data)
    # One step: it has hardly been trained.
    head = learnt(data.without(fresh), steps=1).head
    found = going_on(data, head, fresh)
    assert (found.adapter, found.continued) == ("learned", True), found.verdict.reason


def test_training_does_not_start_from_a_harmful_earlier_head() -> None:
    data = objects(1)
    found = going_on(data, np.eye(DIM, 16, -8, dtype=np.float32), some_of_each(data))
    assert (found.adapter, found.continued) == ("learned", False), found.verdict.reason


def test_an_overfitted_earlier_head_is_not_adopted() -> None:
    data = objects(1, shuffled(1))
    fresh = some_of_each(data)
    loose = settings(400, pull_weight=0.0, group_pull_weight=0.0)
    by_heart = train_head(data.without(fresh), PCA, loose, lambda *_: True)
    examination = Examination(1.0)
    for split in split_up(data.without(fresh)):
        examination.ask(split, "pca", PCA)
        examination.ask(split, "frozen", None)
        examination.ask(split, "adapter", by_heart)
    assert judge(examination, "adapter", ["pca"]).adopted
    assert going_on(data, by_heart, fresh).adapter != "learned"


def test_nearly_identical_images_are_not_pushed_apart() -> None:
    """Two rows may show the same photograph twice, of one object under two URLs or by mistake."""
    photographs = normalised((1 + 0.12 * np.random.default_rng(0).normal(size=(80, DIM))).astype(np.float32))
    images, views = photographs[:40], photographs[40:, None]
    assert (photographs @ photographs.T).min() > NEAR_IDENTICAL
    alone = TrainingSet(images, np.full(40, UNGROUPED), views, np.arange(40), np.arange(40))
    free = settings(pull_weight=0.0, view_weight=0.0)
    start = PCA
    np.testing.assert_array_equal(train_head(alone, start, free, lambda *_: True), start)
