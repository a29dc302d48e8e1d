"""What a score means among the scores of the same query."""

import numpy as np
import pytest

from gateway.search.texts.score_distribution import ScoreDistribution

Scores = np.ndarray[tuple[int], np.dtype[np.float32]]


def normal(count: int, seed: int = 0) -> Scores:
    return np.random.default_rng(seed).normal(0.2, 0.03, count).astype(np.float32)


def test_each_image_of_a_small_collection_beats_those_below_it() -> None:
    distribution = ScoreDistribution(np.array([0.3, 0.1, 0.2, 0.5], np.float32))
    assert [distribution.percentile(score) for score in (0.1, 0.2, 0.3, 0.5)] == [0, 33.3, 66.7, 100]
    assert distribution.percentile(0.05) == 0
    assert distribution.percentile(0.9) == 100


def test_a_percentile_is_the_share_of_all_images_that_score_lower() -> None:
    everything = normal(100_000)
    distribution = ScoreDistribution(everything[:1000])
    # The standard error of the share is at most 1.6 %.
    for share in (0.05, 0.5, 0.9, 0.99):
        score = float(np.quantile(everything, share))
        assert distribution.percentile(score) == pytest.approx(100 * share, abs=4)


def test_images_beyond_the_sample_keep_different_percentiles() -> None:
    scores = np.linspace(0.1, 0.4, 300, dtype=np.float32)
    percentiles = ScoreDistribution(normal(1000)).percentiles(scores)
    assert (np.diff(percentiles) >= 0).all()
    assert (np.diff(percentiles[scores > 0.25]) > 0).all()
    assert (percentiles >= 0).all()
    assert (percentiles <= 100).all()


def test_equal_scores_say_nothing() -> None:
    distribution = ScoreDistribution(np.full(200, 0.2, np.float32))
    assert distribution.percentile(0.2) == 0
    assert ScoreDistribution(np.array([0.2], np.float32)).percentile(0.2) == 0
