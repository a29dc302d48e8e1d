"""Bytes are given out in order, and come back whoever gives up."""

import asyncio
import random

from trainer.embed.byte_budget import ByteBudget


async def test_no_more_is_given_out_than_there_is_and_nobody_is_overtaken() -> None:
    budget = ByteBudget(10)
    order: list[int] = []

    async def hold(number: int, size: int, free: asyncio.Event) -> None:
        async with budget.taken(size):
            order.append(number)
            await free.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    tasks = [asyncio.create_task(hold(0, 8, first))]
    tasks += [asyncio.create_task(hold(number, size, rest)) for number, size in ((1, 5), (2, 1), (3, 99))]
    await asyncio.sleep(0.01)
    assert order == [0]
    first.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_whoever_gives_up_holds_up_nobody() -> None:
    budget = ByteBudget(10)
    async with budget.taken(6):
        large = asyncio.create_task(_hold(budget, 9))
        small = asyncio.create_task(_hold(budget, 4))
        await asyncio.sleep(0)
        large.cancel()
        async with asyncio.timeout(20):
            await small
    async with asyncio.timeout(20), budget.taken(10):
        pass


async def test_nothing_is_lost_however_many_come_and_give_up() -> None:
    chance = random.Random(3)
    budget = ByteBudget(100)
    tasks = [asyncio.create_task(_hold(budget, chance.randint(1, 120))) for _ in range(300)]
    for _ in range(200):
        await asyncio.sleep(0)
        chance.choice(tasks).cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
        async with budget.taken(100):
            pass


async def _hold(budget: ByteBudget, size: int) -> None:
    async with budget.taken(size):
        await asyncio.sleep(0)
