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


def test_two_images_that_come_closer_to_each_other_are_found_as_often() -> None:
    """Each of two relevant images is among the first ten for one of two queries, apart or together."""
    query, labels = np.ones((2, 1), np.float32), np.array([1, 1])
    others = np.linspace(0.2, 0.4, 10)

    def found(first: list[float], second: list[float]) -> list[float]:
        rankings = (np.concatenate([scores, others]) for scores in (first, second))
        gallery_labels = np.array([1, 1, *[0] * len(others)])
        each = [
            retrieve(query[:1], labels[:1], ranking[:, np.newaxis].astype(np.float32), gallery_labels).metrics()
            for ranking in rankings
        ]
        return [float(np.mean([of[metric] for of in each])) for metric in ("found_at_10", "recall_at_10")]

    assert found([0.9, 0.1], [0.1, 0.9]) == [0.5, 1.0]
    assert found([0.9, 0.9], [0.1, 0.1]) == [0.5, 0.5]
