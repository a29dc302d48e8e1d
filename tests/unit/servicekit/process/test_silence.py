"""A child that answers nothing for too long is noticed, and only such a child."""

import asyncio
import itertools
import time
from collections.abc import Callable

import pytest

from servicekit.process.silence import MISSES, Patience, Silence, Watch

SECONDS = 0.36
PAUSE = SECONDS / MISSES
PATIENCE = Patience(SECONDS, starting_seconds=1000.0)


class Asked:
    """A probe that counts its calls, and behaves in each as the test says."""

    def __init__(self, answer: Callable[[int], bool | OSError | None]) -> None:
        """answer: of each question, counted from 1; None: there never is one."""
        self._answer = answer
        self.times = 0

    async def __call__(self) -> bool:
        self.times += 1
        answer = self._answer(self.times)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)


def silence(asked: Asked, patience: Patience = PATIENCE) -> Silence:
    """Return the silence of a child that is ready."""
    found = Silence(Watch(asked, patience))
    found.is_ready()
    return found


@pytest.mark.parametrize("answer", [None, False, ConnectionRefusedError("no listener")])
async def test_a_child_that_does_not_answer_is_silent(answer: OSError | None) -> None:
    asked = Asked(lambda _: answer)
    async with asyncio.timeout(30):
        assert await silence(asked).too_long() >= SECONDS
    assert asked.times >= MISSES - 1


async def test_a_child_that_answers_now_and_then_is_not() -> None:
    # Each time, it comes back at the last moment.
    asked = Asked(lambda time: True if time % (MISSES - 2) == 0 else None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * SECONDS):
            await silence(asked).too_long()
    assert asked.times > MISSES


async def test_a_child_that_is_suspended_together_with_the_watch_is_not() -> None:
    def answer(number: int) -> bool | None:
        if number % 3 == 0:
            # Neither runs.
            time.sleep(2 * PAUSE)
        return None

    asked = Asked(answer)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * SECONDS):
            await silence(asked).too_long()
    assert asked.times > MISSES


async def test_a_child_that_starts_has_longer() -> None:
    asked = Asked(lambda _: None)
    starting = Silence(Watch(asked, PATIENCE))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * SECONDS):
            await starting.too_long()
    starting.is_ready()
    async with asyncio.timeout(30):
        await starting.too_long()


async def test_a_child_that_never_starts_is_noticed_too() -> None:
    starting = Silence(Watch(Asked(lambda _: None), Patience(0.2, starting_seconds=0.5)))
    async with asyncio.timeout(30):
        assert await starting.too_long() >= 0.5


async def test_questions_are_spread_over_the_time() -> None:
    asked = Asked(lambda _: True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await silence(asked).too_long()
    assert asked.times <= MISSES + 1


def test_an_answer_ends_a_silence() -> None:
    numbers = itertools.count()
    asked = Asked(lambda _: True if next(numbers) == MISSES - 3 else None)

    async def wait() -> float:
        async with asyncio.timeout(30):
            return await silence(asked).too_long()

    asyncio.run(wait())
    assert asked.times >= MISSES + MISSES - 3
