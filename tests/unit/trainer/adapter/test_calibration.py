"""Calibration: what a score means, from the best scores of images that have nothing to find."""

from itertools import pairwise

import numpy as np
import pytest

from catalog.indexes import FALSE_MATCH_RATES, false_match_rate
from trainer.adapter.calibration import MIN_QUERIES, QUANTILES, false_match_scores, unrelated_quantiles


def best_scores(queries: int, gallery: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """Return the best of `gallery` random scores for each query."""
    random = np.random.default_rng(seed)
    best: np.ndarray[tuple[int], np.dtype[np.float32]]
    best = np.tanh(random.normal(0.5, 0.15, size=(queries, gallery)).max(axis=1)).astype(np.float32)
    return best


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rate", "at_most"), [(0.01, 0.02), (0.05, 0.08), (0.1, 0.15)])
def test_few_queries_without_a_match_reach_a_score_with_a_low_rate(seed: int, rate: float, at_most: float) -> None:
    scores = false_match_scores(best_scores(300, 200, seed), 200, 200)
    found = [false_match_rate(float(score), scores) for score in best_scores(3000, 200, 100 + seed)]
    share = np.mean([each is not None and each < rate for each in found])
    assert rate / 5 < share <= at_most


def test_the_rate_rises_in_a_collection_larger_than_the_measured_one() -> None:
    measured = false_match_scores(best_scores(500, 100, 0), 100, 1000)
    found = [false_match_rate(float(score), measured) for score in best_scores(1000, 1000, 1)]
    assert 0.01 < np.mean([each is not None and each < 0.05 for each in found]) < 0.1


def test_rates_fall_as_scores_rise() -> None:
    scores = false_match_scores(best_scores(300, 200, 0), 200, 200)
    assert len(scores) == len(FALSE_MATCH_RATES)
    rates = [false_match_rate(score, scores) for score in np.linspace(-1, 1, 500)]
    assert rates[0] == 1.0
    assert rates[-1] == 0.0
    assert all(first >= second for first, second in pairwise(rates) if first and second)


def test_too_few_queries_calibrate_nothing() -> None:
    assert false_match_scores(best_scores(MIN_QUERIES - 1, 50, 0), 50, 50) == []
    assert false_match_rate(0.9, []) is None


def test_images_of_an_object_and_of_a_picture_are_related() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]]
    quantiles = unrelated_quantiles(vectors, np.array([0, 1, 2, 2, 3]), np.array([0, 0, 2, 3, 4]))
    assert len(quantiles) == QUANTILES
    # The equal vectors are of one picture or of one object.
    assert max(quantiles) == 0.0
    assert unrelated_quantiles(vectors[:2], np.array([0, 1]), np.array([0, 0])) == []
