"""Patience waits for what may come back, and for nothing else."""

import asyncio

import pytest

from catalog.jobs import LeaseLost
from catalog.vectors.client import VectorsMissing
from servicekit.errors import NoSpace, Overloaded, ServiceError, Unavailable
from trainer.jobs.retry import LONGEST_DELAY, Patience, next_delay


async def test_what_comes_back_in_time_was_never_away() -> None:
    errors: list[ServiceError] = [Unavailable("away", retry_after=None), Overloaded("busy", retry_after=0.01)]

    async def call(number: int, *, factor: int) -> int:
        if errors:
            raise errors.pop()
        return number * factor

    assert await Patience(10).persist(call, 3, factor=2) == 6
    assert not errors


@pytest.mark.parametrize("error", [NoSpace("full"), VectorsMissing("gone"), LeaseLost("lost"), ValueError("defect")])
async def test_what_waiting_does_not_mend_is_raised_at_once(error: Exception) -> None:
    calls = []

    async def call() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        await Patience(60).persist(call)
    assert len(calls) == 1


async def test_patience_ends_with_the_last_error() -> None:
    async def call() -> None:
        raise Unavailable("away", code="qdrant_unavailable", retry_after=None)

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable) as caught:
            await Patience(0.3).persist(call)
    assert caught.value.code == "qdrant_unavailable"


def test_delays_grow_to_a_bound() -> None:
    delay = 0.2
    for _ in range(20):
        assert delay <= next_delay(delay) <= LONGEST_DELAY
        delay = next_delay(delay)
    assert delay == LONGEST_DELAY
