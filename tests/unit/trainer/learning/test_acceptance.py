import numpy as np
import pytest

from catalog.vectors.projection import normalised
from tests.unit.trainer.learning.synthetic import BLIND, DIM, PCA, SIGNAL, no_strangers, objects
from trainer.learning.acceptance import MIN_QUERIES, Decision, decide_adoption, decide_reuse
from trainer.learning.dataset import Matrix, TrainingSet
from trainer.learning.evaluation import Evaluation, Results
from trainer.learning.holdout import Holdout, QuerySet, fresh_holdout
from trainer.learning.retrieval import Retrieval


def test_an_adapter_is_rejected_without_held_out_images() -> None:
    assert not decide_adoption(Evaluation(1.0), "adapter", ["pca"]).adopted


# The first dimension counts for little, so the first of two images falls behind the second one.
SECOND_FIRST = np.diag([0.1, 1.0]).astype(np.float32)


def adoption(improved: int, worsened: int, name: str = "groups_seen", pca: Matrix = PCA[:2, :2]) -> Decision:
    """Return the decision on a head that helps so many queries for copies, and harms so many of another query set."""
    images, none = np.eye(2, dtype=np.float32), np.arange(0)
    query_sets = tuple(
        QuerySet(
            each, np.tile(np.array([0.9, 0.4], np.float32), (count, 1)), [np.array([relevant])] * count, [none] * count
        )
        for each, count, relevant in (("views", improved, 1), (name, worsened, 0))
        if count
    )
    data = TrainingSet(images, np.arange(2), images[:0, None], none, np.arange(2))
    holdout, evaluation = Holdout(data, images, query_sets, no_strangers(data)), Evaluation(1.0)
    for space, projection in (("frozen", None), ("pca", pca), ("adapter", SECOND_FIRST)):
        evaluation.add(holdout, space, projection)
    return decide_adoption(evaluation, "adapter", ["pca"])


@pytest.mark.parametrize(("worsened", "adopted"), [(0, True), (MIN_QUERIES - 1, True), (MIN_QUERIES, False)])
def test_a_few_queries_cannot_reject_a_new_adapter(worsened: int, adopted: bool) -> None:
    assert adoption(2 * MIN_QUERIES, worsened).adopted == adopted


def test_a_few_queries_cannot_adopt_a_new_adapter() -> None:
    assert not adoption(MIN_QUERIES - 1, 0).adopted
    assert adoption(MIN_QUERIES, 0).adopted


@pytest.mark.parametrize("name", ["views", "entries", "groups_seen", "groups_unseen"])
def test_every_question_can_reject_an_adapter(name: str) -> None:
    found = adoption(0 if name == "views" else 60, 60, name)
    assert not found.adopted
    assert "worse" in found.reason


class Measured(Evaluation):
    """An evaluation with given results by space."""

    def __init__(self, results: dict[str, Results]) -> None:
        super().__init__(1.0)
        self._given = results

    def results(self, space: str) -> Results:
        return self._given[space]


def retrieval(found: float, precision: float, relevant: int) -> Retrieval:
    """Return 60 equal queries with so many relevant images, of which a share is found in the first ten."""
    always, each = np.ones(60), np.full(60, precision)
    return Retrieval(each, each, always, always, always, found * always, always, relevant * always)


@pytest.mark.parametrize(("relevant", "copies", "adopted"), [(2, True, True), (2, False, False), (8, True, False)])
def test_recall_of_small_entries_is_judged_by_copies_of_their_images(
    relevant: int, copies: bool, adopted: bool
) -> None:
    def results(found: float, precision: float) -> Results:
        asked = ["views", "entries"] if copies else ["views"]
        members = {"groups_seen": retrieval(found, 0.5, relevant)}
        return members | {name: retrieval(1.0, precision, 1) for name in asked}

    before = results(1.0, 0.5)
    found = decide_adoption(
        Measured({"frozen": before, "pca": before, "adapter": results(0.5, 1.0)}), "adapter", ["pca"]
    )
    assert found.adopted == adopted, found.reason


def test_neighbourhoods_may_change_as_much_as_in_the_pca() -> None:
    assert not adoption(60, MIN_QUERIES, "neighbourhood").adopted
    # The PCA loses the same neighbours. It gains the copies too, so nothing is left to gain.
    found = adoption(60, MIN_QUERIES, "neighbourhood", pca=SECOND_FIRST)
    assert "neighbours" not in found.reason


def reuse(head: Matrix, *, queries: int = 60) -> Decision:
    """Return the decision on a head that was trained on all images but the last `queries`."""
    data, evaluation = objects(4), Evaluation(1.0)
    # Amplify the dimensions that tell objects apart, so that there is something to lose.
    loudness = np.where(np.arange(DIM) < SIGNAL, 4, 1).astype(np.float32)
    data = TrainingSet(normalised(data.vectors * loudness), data.groups, data.views, data.viewed, data.pictures)
    holdout = fresh_holdout(data, np.arange(len(data)) >= len(data) - queries, seed=0)
    evaluation.add(holdout, "frozen", None)
    evaluation.add(holdout, "adapter", head)
    return decide_reuse(evaluation, "adapter")


def test_a_head_is_kept_only_if_it_does_not_harm_new_images() -> None:
    kept, dropped = reuse(PCA), reuse(BLIND)
    assert kept.adopted, kept.reason
    assert not dropped.adopted
    assert kept.metrics["groups_seen"]["queries"] == 60


def test_a_few_queries_cannot_reject_an_adopted_adapter() -> None:
    found = reuse(BLIND, queries=MIN_QUERIES // 2)
    assert found.metrics
    assert found.adopted
