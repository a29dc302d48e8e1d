import numpy as np
import pytest

from trainer.learning.retrieval import BINS, retrieve, score_histogram


def test_metrics_follow_their_usual_definitions() -> None:
    gallery = np.eye(4, dtype=np.float32)
    query = np.array([[0.9, 0.8, 0.7, 0.1]], dtype=np.float32)
    found = retrieve(query, np.array([7]), gallery, np.array([5, 7, 5, 7]))
    # The relevant images have ranks 2 and 4: (1/2 + 2/4) / 2.
    assert found.means() == {"map": 0.5, "map_at_10": 0.5, "recall_at_1": 0.0, "recall_at_10": 1.0}
    assert found.best_score == pytest.approx([0.8])


def test_a_histogram_has_the_share_of_the_scores_in_each_part() -> None:
    shares = score_histogram([-0.3, 0.0, 0.51, 1.0])
    assert len(shares) == BINS
    assert (shares[0], shares[20], shares[-1], sum(shares)) == (0.5, 0.25, 0.25, 1.0)
    assert score_histogram([]) == []
