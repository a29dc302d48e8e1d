"""Calibration: what a score means, from the best scores of images that have nothing to find."""

import numpy as np
import pytest

from catalog.vectors.false_matches import FALSE_MATCH_RATES, RUNNER_UPS, FalseMatches
from catalog.vectors.projection import Matrix
from trainer.adapter.calibration import MIN_QUERIES, QUANTILES, false_matches, unrelated_quantiles
from trainer.learning.strangers import NOTHING


def best_scores(queries: int, gallery: int, seed: int) -> Matrix:
    """Return the best of `gallery` random scores for each query. Some queries score high everywhere."""
    random = np.random.default_rng(seed)
    found = 0.15 * random.normal(size=(queries, gallery)) + random.choice([0.3, 0.8], size=(queries, 1))
    best: Matrix = np.tanh(-np.sort(-found, axis=1)[:, : 1 + RUNNER_UPS]).astype(np.float32)
    return best


def rates(matches: FalseMatches, found: Matrix) -> Matrix:
    return np.array([matches.rate(row[0], row[1:]) for row in found.tolist()], dtype=np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rate", "at_most"), [(0.01, 0.02), (0.05, 0.08), (0.1, 0.15)])
@pytest.mark.parametrize("by_score", [False, True])
def test_few_queries_without_a_match_have_a_low_rate(seed: int, rate: float, at_most: float, by_score: bool) -> None:
    # By score alone, only the queries that score high everywhere count, so more of them are needed.
    matches = false_matches(best_scores(1500 if by_score else 300, 200, seed), 200, 200)
    if by_score:
        matches = FalseMatches(matches.scores)
    found = (rates(matches, best_scores(3000, 200, 100 + seed)) < rate).mean()
    # The extrapolated tail is cautious.
    assert (0.0 if by_score else rate / 10) <= found <= at_most


@pytest.mark.parametrize("by_score", [False, True])
def test_the_rate_holds_in_a_collection_larger_than_the_measured_one(by_score: bool) -> None:
    measured = false_matches(best_scores(500, 100, 0), 100, 1000)
    if by_score:
        measured = FalseMatches(measured.scores)
    assert 0.002 < (rates(measured, best_scores(1000, 1000, 1)) < 0.05).mean() <= 0.08


def test_what_stands_out_is_found_among_queries_that_score_high_everywhere() -> None:
    matches = false_matches(best_scores(300, 200, 0), 200, 200)
    found = best_scores(300, 200, 1)
    # Each query also has a match, which scores clearly more than everything else.
    found = np.hstack([np.tanh(np.arctanh(found[:, :1]) + 0.4), found[:, :-1]]).astype(np.float32)
    assert (rates(matches, found) < 0.05).mean() > 0.95
    assert (rates(FalseMatches(matches.scores), found) < 0.05).mean() < 0.6


def test_a_few_queries_that_do_have_a_match_hardly_change_the_rates_of_others() -> None:
    """Some held-out images are versions of a picture in another entry. They used to stretch the fitted tail."""
    best = best_scores(300, 200, 0)
    with_versions = best.copy()
    with_versions[:9, 0] = 0.999
    clean, measured = (false_matches(each, 200, 200) for each in (best, with_versions))
    found = best_scores(300, 200, 1)
    found = np.hstack([np.tanh(np.arctanh(found[:, :1]) + 0.3), found[:, :-1]]).astype(np.float32)
    assert (rates(clean, found) < 0.05).mean() > 0.9
    assert (rates(measured, found) < 0.05).mean() > 0.8
    # The tail is still a tail: something else has a low rate as rarely as before.
    assert (rates(measured, best_scores(3000, 200, 2)) < 0.01).mean() <= 0.02


def test_limits_fall_as_rates_rise() -> None:
    matches = false_matches(best_scores(300, 200, 0), 200, 200)
    for limits in (matches.scores, matches.prominences):
        assert len(limits) == len(FALSE_MATCH_RATES)
        assert list(limits) == sorted(limits, reverse=True)


def test_too_few_queries_calibrate_nothing() -> None:
    assert not false_matches(best_scores(MIN_QUERIES - 1, 50, 0), 50, 50)


def test_a_collection_of_one_object_is_calibrated_by_the_score_only() -> None:
    best = best_scores(100, 50, 0)
    best[:, 1:] = NOTHING
    matches = false_matches(best, 50, 50)
    assert matches
    assert not matches.knows_prominences


def test_images_of_an_object_and_of_a_picture_are_related() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]]
    quantiles = unrelated_quantiles(vectors, np.array([0, 1, 2, 2, 3]), np.array([0, 0, 2, 3, 4]))
    assert len(quantiles) == QUANTILES
    # The equal vectors are of one picture or of one object.
    assert max(quantiles) == 0.0
    assert unrelated_quantiles(vectors[:2], np.array([0, 1]), np.array([0, 0])) == []
