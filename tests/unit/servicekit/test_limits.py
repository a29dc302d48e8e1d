"""Bounds hold, and whoever leaves, however, leaves a place behind."""

import asyncio

import pytest

from servicekit.errors import Overloaded
from servicekit.limits import ByteBudget, Gate


def gate(at_once: int = 1, waiting: int = 1, wait_seconds: float = 5.0) -> Gate:
    return Gate("searches", at_once=at_once, waiting=waiting, wait_seconds=wait_seconds)


async def stay(place: Gate, inside: asyncio.Event, leave: asyncio.Event) -> None:
    """Enters, says so, and leaves when told."""
    async with place.entered():
        inside.set()
        await leave.wait()


async def test_whoever_finds_the_queue_full_is_turned_away_at_once() -> None:
    place, inside, leave = gate(), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stay(place, inside, leave))
    await inside.wait()
    second_inside = asyncio.Event()
    second = asyncio.create_task(stay(place, second_inside, leave))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as error:
        await stay(place, inside, leave)
    assert error.value.retry_after is not None
    assert not second_inside.is_set()
    leave.set()
    await asyncio.gather(first, second)
    assert second_inside.is_set()


async def test_who_waits_too_long_is_turned_away_and_the_place_is_free_again() -> None:
    place, inside, leave = gate(wait_seconds=0.01), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stay(place, inside, leave))
    await inside.wait()
    for _ in range(3):
        with pytest.raises(Overloaded):
            await stay(place, asyncio.Event(), leave)
    leave.set()
    await first
    await stay(place, inside, leave)


async def test_who_goes_away_while_waiting_or_inside_frees_the_place() -> None:
    place, inside, leave = gate(), asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(stay(place, inside, leave))
    await inside.wait()
    second = asyncio.create_task(stay(place, asyncio.Event(), leave))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    leave.set()
    await asyncio.gather(*(stay(place, inside, leave) for _ in range(2)))


def test_a_budget_is_given_back_whole() -> None:
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
