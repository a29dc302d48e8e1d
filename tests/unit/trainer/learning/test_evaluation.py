import numpy as np
import pytest

from tests.unit.trainer.learning.synthetic import no_strangers
from trainer.learning.dataset import TrainingSet
from trainer.learning.evaluation import Evaluation
from trainer.learning.holdout import Holdout, QuerySet


@pytest.mark.parametrize(("grouped", "gain"), [(0.75, 0.375), (0.25, 0.125)])
def test_query_sets_are_weighted_by_the_share_of_images_of_their_kind(grouped: float, gain: float) -> None:
    queries = np.array([[0.9, 0.4], [0.4, 0.9]], dtype=np.float32)
    # The relevant image of each query has rank 2 in the frozen space.
    none = np.arange(0)
    seen, unseen = (
        QuerySet(name, queries[[row]], [np.array([1 - row])], [none])
        for row, name in ((0, "groups_seen"), (1, "groups_unseen"))
    )
    images = np.eye(2, dtype=np.float32)
    data = TrainingSet(images, np.arange(2), images[:0, None], none, np.arange(2))
    holdout = Holdout(data, images, (seen, unseen), no_strangers(data))
    evaluation = Evaluation(grouped)
    evaluation.add(holdout, "frozen", None)
    # The second dimension counts for more, which improves the first query.
    evaluation.add(holdout, "adapter", np.diag([0.1, 1.0]).astype(np.float32))
    assert evaluation.gain("adapter", "frozen", ["groups_seen", "groups_unseen"])[0] == pytest.approx(gain)
    measured = evaluation.summary(candidate="frozen")["groups_seen"]["adapter"]
    assert isinstance(measured, dict)
    # The relevant image of the query has a cosine of 0.4 / |(0.9, 0.4)| = 0.41, in the 17th of 40 parts.
    assert measured["scores"][16] == 1.0


def test_a_question_that_is_nearly_always_answered_counts_as_much_as_a_hard_one() -> None:
    """An adapter that finds half of what was missed gains a half, however much was missed."""
    images, none = np.eye(2, dtype=np.float32), np.arange(0)
    data = TrainingSet(images, np.arange(2), images[:0, None], none, np.arange(2))

    def gain(missed: int) -> float:
        # The relevant image of a missed query has rank 2 in the frozen space. The adapter puts half of them right.
        queries = [[0.9, 0.5]] * (missed // 2) + [[0.9, 0.01]] * (missed // 2) + [[0.1, 0.9]] * (600 - missed)
        vectors = np.array(queries, np.float32)
        query_set = QuerySet("views", vectors, [np.array([1])] * len(vectors), [none] * len(vectors))
        holdout = Holdout(data, images, (query_set,), no_strangers(data))
        evaluation = Evaluation(0.0)
        evaluation.add(holdout, "frozen", None)
        evaluation.add(holdout, "adapter", np.diag([0.1, 1.0]).astype(np.float32))
        return evaluation.gain("adapter", "frozen", ["views"])[0]

    assert gain(80) == pytest.approx(0.5)
    assert gain(600) == pytest.approx(0.5)
    # Half of a few misses says little.
    assert gain(20) < 0.25
