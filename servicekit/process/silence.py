"""Notices a child process that exists but does nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

# At least this many answers in a row must be missing.
MISSES = 6
# How late the watch itself may be, as a share of the time between two questions.
TOLERANCE = 0.25


@dataclass(frozen=True)
class Patience:
    """For how many seconds a child may be silent: once it was ready, and before."""

    seconds: float
    starting_seconds: float


@dataclass(frozen=True)
class Watch:
    """How a child is asked whether it is alive, and for how long it may be silent.

    alive: True for any answer, even that the child waits for another one or is overloaded. It may wait for ever, and
    raise OSError or EOFError.
    """

    alive: Callable[[], Awaitable[bool]]
    patience: Patience


class Silence:
    """Measures how long one run of a child has been silent."""

    def __init__(self, watch: Watch) -> None:
        self._alive = watch.alive
        self._patience = watch.patience
        self._pause = watch.patience.seconds / MISSES
        self._ready = False

    def is_ready(self) -> None:
        """Note that the child has become ready."""
        self._ready = True

    async def too_long(self) -> float:
        """Wait until the child has been silent for too long. Return for how many seconds it was."""
        silent = 0.0
        while silent < self._allowed():
            started = _now()
            answered = await self._ask()
            await asyncio.sleep(self._pause - (_now() - started))
            passed = _now() - started
            # If this process did not run either, the machine was suspended or is overloaded. That says nothing about
            # the child, nor does what came before: it may need a while to come back.
            was_late = passed > self._pause * (1 + TOLERANCE)
            silent = 0.0 if answered or was_late else silent + passed
        return silent

    def _allowed(self) -> float:
        once_ready, starting = self._patience.seconds, self._patience.starting_seconds
        return once_ready if self._ready else max(once_ready, starting)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(self._pause):
                return await self._alive()
        except (OSError, EOFError, TimeoutError):
            return False


def _now() -> float:
    # Unlike the monotonic clock, it goes on while the machine is suspended.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
