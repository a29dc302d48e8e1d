"""Limits hold, and every caller frees its share, also after an error or a cancellation."""

import asyncio
import random

import pytest

from servicekit.errors import Overloaded
from servicekit.limits import ByteBudget, ConcurrencyLimit


def limit_of(at_once: int = 1, waiting: int = 1, wait_seconds: float = 5.0) -> ConcurrencyLimit:
    return ConcurrencyLimit("searches", at_once=at_once, waiting=waiting, wait_seconds=wait_seconds)


async def stay(limit: ConcurrencyLimit, inside: asyncio.Event, leave: asyncio.Event) -> None:
    """Hold a slot until `leave` is set; `inside` is set meanwhile."""
    async with limit.slot():
        inside.set()
        await leave.wait()


async def test_a_caller_is_refused_at_once_when_the_queue_is_full() -> None:
    limit, inside, leave = limit_of(), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stay(limit, inside, leave))
    await inside.wait()
    second_inside = asyncio.Event()
    second = asyncio.create_task(stay(limit, second_inside, leave))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as error:
        await stay(limit, inside, leave)
    assert error.value.retry_after is not None
    assert not second_inside.is_set()
    leave.set()
    await asyncio.gather(first, second)
    assert second_inside.is_set()


async def test_a_wait_that_times_out_frees_its_place_in_the_queue() -> None:
    limit, inside, leave = limit_of(wait_seconds=0.01), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stay(limit, inside, leave))
    await inside.wait()
    for _ in range(3):
        with pytest.raises(Overloaded):
            await stay(limit, asyncio.Event(), leave)
    leave.set()
    await first
    await stay(limit, inside, leave)


async def test_a_cancelled_caller_frees_its_place_while_waiting_and_inside() -> None:
    limit, inside, leave = limit_of(), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stay(limit, inside, leave))
    await inside.wait()
    second = asyncio.create_task(stay(limit, asyncio.Event(), leave))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    leave.set()
    await asyncio.gather(*(stay(limit, inside, leave) for _ in range(2)))


def test_an_account_returns_all_of_its_bytes() -> None:
    budget = ByteBudget(100)
    with budget.account() as first:
        first.take(60)
        with budget.account() as second:
            second.take(30)
            with pytest.raises(Overloaded):
                second.take(30)
        with budget.account() as third:
            third.take(40)
    with budget.account() as all_of_it:
        all_of_it.take(100)


def test_an_account_returns_its_bytes_when_the_work_fails() -> None:
    budget = ByteBudget(100)

    def fail() -> None:
        with budget.account() as account:
            account.take(100)
            raise ValueError("failed")

    for _ in range(3):
        with pytest.raises(ValueError, match="failed"):
            fail()


def test_a_budget_raises_its_configured_error() -> None:
    budget = ByteBudget(10, refusal=lambda: ValueError("full"))
    with budget.account() as account, pytest.raises(ValueError, match="full"):
        account.take(11)


async def test_reservations_are_served_in_order_and_never_exceed_the_budget() -> None:
    budget = ByteBudget(10)
    order: list[int] = []
    first_inside = asyncio.Event()

    async def hold(number: int, size: int, free: asyncio.Event) -> None:
        async with budget.reserved(size):
            order.append(number)
            first_inside.set()
            await free.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    tasks = [asyncio.create_task(hold(0, 8, first))]
    tasks += [asyncio.create_task(hold(number, size, rest)) for number, size in ((1, 5), (2, 1), (3, 99))]
    await first_inside.wait()
    await asyncio.sleep(0)
    assert order == [0]
    first.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_an_account_does_not_overtake_a_waiting_reservation() -> None:
    budget = ByteBudget(10)
    async with budget.reserved(6):
        waiting = asyncio.create_task(reserve(budget, 9))
        await asyncio.sleep(0)
        with budget.account() as account, pytest.raises(Overloaded):
            account.take(1)
    async with asyncio.timeout(20):
        await waiting


async def test_a_cancelled_reservation_does_not_block_others() -> None:
    budget = ByteBudget(10)
    async with budget.reserved(6):
        large = asyncio.create_task(reserve(budget, 9))
        small = asyncio.create_task(reserve(budget, 4))
        await asyncio.sleep(0)
        large.cancel()
        async with asyncio.timeout(20):
            await small
    async with asyncio.timeout(20), budget.reserved(10):
        pass


async def test_no_byte_is_lost_when_many_reservations_are_cancelled() -> None:
    chance = random.Random(3)
    budget = ByteBudget(100)
    tasks = [asyncio.create_task(reserve(budget, chance.randint(1, 120))) for _ in range(300)]
    for _ in range(200):
        await asyncio.sleep(0)
        chance.choice(tasks).cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
        async with budget.reserved(100):
            pass


async def reserve(budget: ByteBudget, size: int) -> None:
    async with budget.reserved(size):
        await asyncio.sleep(0)
