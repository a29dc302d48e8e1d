"""A client may send so many requests per second, and others are not concerned."""

import pytest

from gateway.admission.rate_limit import RateLimit
from servicekit.errors import Overloaded


def test_a_client_that_exceeds_its_rate_is_told_when_to_come_back() -> None:
    limit = RateLimit(2.0)
    for _ in range(10):
        limit.take("1.1.1.1")
    with pytest.raises(Overloaded) as refused:
        limit.take("1.1.1.1")
    assert refused.value.code == "rate_limited"
    assert 0.4 < (refused.value.retry_after or 0.0) <= 0.5
    limit.take("2.2.2.2")


def test_a_rate_of_zero_allows_everything() -> None:
    limit = RateLimit(0.0)
    for _ in range(1000):
        limit.take("1.1.1.1")
