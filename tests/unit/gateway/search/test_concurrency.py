"""A few calls run at a time; an error ends all of them."""

import asyncio
from functools import partial

import pytest

from gateway.search.concurrency import concurrently
from servicekit.errors import InvalidRequest


async def test_results_keep_their_order_and_only_a_few_calls_run_at_a_time() -> None:
    running, most = 0, 0

    async def call(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10 - number):
            await asyncio.sleep(0)
        running -= 1
        return number

    assert await concurrently([partial(call, number) for number in range(10)], at_once=3) == list(range(10))
    assert most == 3


async def test_the_first_error_cancels_the_other_calls_and_is_raised() -> None:
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fail() -> None:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match="no"):
        await concurrently([wait, fail], at_once=2)
    assert cancelled.is_set()
