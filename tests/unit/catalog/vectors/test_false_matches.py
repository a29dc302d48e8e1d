"""False match rates: a result is compared by its score, and by what it exceeds the query's runner-ups by."""

from itertools import pairwise

import pytest

from catalog.images import Image
from catalog.vectors.false_matches import ATYPICAL_RATE, FALSE_MATCH_RATES, RUNNER_UPS, FalseMatches, fisher, prominence

# The score 0.9 is reached by 10 % and 0.5 by all queries without a match; of prominences, 0.8 by 10 % and 0.2 by all.
SCORES = [0.9 - 0.4 * (rate - 0.1) / 0.9 for rate in FALSE_MATCH_RATES]
PROMINENCES = [0.8 - 0.6 * (rate - 0.1) / 0.9 for rate in FALSE_MATCH_RATES]
MATCHES = FalseMatches(SCORES, PROMINENCES)


def image(number: int, repo_url: str) -> Image:
    return Image(number, f"https://images.example.org/{number}.jpg", repo_url, 1)


def test_without_runner_ups_the_rate_is_that_of_the_score() -> None:
    assert FalseMatches(SCORES).rate(0.9, [0.3]) == pytest.approx(0.1)
    assert MATCHES.rate(0.9, []) == pytest.approx(0.1)
    assert MATCHES.rate(0.7, []) == pytest.approx(0.55)


def test_an_index_without_a_calibration_has_no_rate() -> None:
    assert FalseMatches().rate(0.9, [0.3]) is None
    assert FalseMatches([0.9, 0.5]).rate(0.9, [0.3]) is None
    assert not FalseMatches()


def test_a_prominent_result_is_a_match_even_if_such_scores_are_common() -> None:
    rate = MATCHES.rate(0.75, [0.1, 0.1, 0.1])
    assert rate is not None
    assert prominence(0.75, [0.1, 0.1, 0.1]) > PROMINENCES[0]
    assert rate == 0.0
    # Its runner-ups score nearly as much, as for other images of its kind.
    assert MATCHES.rate(0.75, [0.7, 0.7, 0.7]) == pytest.approx(0.875, abs=0.13)


def test_a_very_high_score_is_a_match_even_if_others_score_as_much() -> None:
    assert MATCHES.rate(0.99, [0.99, 0.99, 0.99]) == 0.0


def test_of_two_rare_rates_that_of_the_score_counts_less() -> None:
    """With the lower of both, or twice that of the score, 12 instead of 10 % of the queries had a rate below 10 %."""
    scores = [1.0 - rate for rate in FALSE_MATCH_RATES]
    matches = FalseMatches(scores, [1.0 - rate for rate in FALSE_MATCH_RATES])
    assert prominence(0.98, [0.98] * 3) < 0.2
    assert matches.rate(0.98, [0.98] * 3) == pytest.approx(0.08)
    # Above RARE, the higher of both is returned.
    assert matches.rate(0.97, [0.97] * 3) == pytest.approx(1 - prominence(0.97, [0.97] * 3), abs=0.001)


def test_a_result_that_is_rare_in_neither_way_gets_the_higher_rate() -> None:
    # Noise scores low everywhere, so its best result looks a little prominent.
    assert MATCHES.rate(0.55, [0.0, 0.0, 0.0]) == pytest.approx(0.8875)


def test_rates_fall_as_scores_rise() -> None:
    for runner_ups in ([], [0.2, 0.2], [0.6, 0.5, 0.4], [0.8, 0.8, 0.8]):
        rates = [MATCHES.rate(score / 500, runner_ups) for score in range(-500, 501)]
        assert rates[0] == 1.0
        assert rates[-1] == 0.0
        assert all(first >= second for first, second in pairwise(rates) if first is not None and second is not None)


def test_runner_ups_are_the_best_scores_of_other_objects() -> None:
    found = [(0.9, image(1, "a")), (0.8, image(2, "a")), (0.7, image(3, "b")), (0.6, image(4, "")), (0.5, image(5, ""))]
    assert MATCHES.runner_ups(found) == [0.7, 0.6, 0.5]
    assert MATCHES.runner_ups([*found, (0.4, image(6, "c"))]) == [0.7, 0.6, 0.5]
    assert len(MATCHES.runner_ups(found)) == RUNNER_UPS
    assert MATCHES.runner_ups(found[:2]) == []


def test_a_url_that_most_rows_share_names_no_object() -> None:
    shared = FalseMatches(SCORES, PROMINENCES, "a")
    assert shared.runner_ups([(0.9, image(1, "a")), (0.8, image(2, "a")), (0.7, image(3, "b"))]) == [0.8, 0.7]


def test_the_transform_of_a_copy_is_finite() -> None:
    assert fisher(1.0) == fisher(0.9999999) == -fisher(-1.0)


def test_a_query_that_is_unlike_the_collection_is_a_match_only_if_its_score_is_rare() -> None:
    matches = FalseMatches(SCORES, PROMINENCES, least_typical=0.4)
    for typicality in (None, 0.4, 0.9):
        assert matches.rate(0.75, [0.1], typicality) == MATCHES.rate(0.75, [0.1]) == 0.0
    assert matches.rate(0.75, [0.1], 0.39) == ATYPICAL_RATE
    assert matches.rate(0.99, [0.1], 0.39) == 0.0
    assert matches.rate(-0.5, [-0.6], 0.39) == 1.0
