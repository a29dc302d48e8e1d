import numpy as np

from catalog.vectors.projection import normalised
from tests.unit.trainer.learning.synthetic import BLIND, DIM, PCA, SIGNAL, objects
from trainer.learning.acceptance import MIN_QUERIES, Decision, decide_adoption, decide_reuse
from trainer.learning.dataset import Matrix, TrainingSet
from trainer.learning.evaluation import Evaluation
from trainer.learning.holdout import fresh_holdout


def test_an_adapter_is_rejected_without_held_out_images() -> None:
    assert not decide_adoption(Evaluation(1.0), "adapter", ["pca"]).adopted


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
