"""Backoff delays grow, have a maximum, and start again after a reset."""

import pytest

from servicekit.backoff import Backoff


def test_delays_double_up_to_the_maximum_with_jitter() -> None:
    backoff = Backoff(first=1.0, longest=6.0)
    for longest in (1.0, 2.0, 4.0, 6.0, 6.0):
        assert longest / 2 <= backoff.delay() <= longest


def test_a_reset_starts_with_the_first_delay_again() -> None:
    backoff = Backoff(first=1.0, longest=6.0)
    for _ in range(5):
        backoff.delay()
    backoff.reset()
    assert backoff.delay() <= 1.0


@pytest.mark.parametrize(("asked", "longest"), [(0.1, 1.0), (3.0, 3.0), (60.0, 6.0)])
def test_a_delay_that_the_server_asks_for_is_respected_up_to_the_maximum(asked: float, longest: float) -> None:
    assert longest / 2 <= Backoff(first=1.0, longest=6.0).delay(asked) <= longest
