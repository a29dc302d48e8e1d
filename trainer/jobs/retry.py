"""Patience: a part that is away for some minutes does not fail a job that ran for hours."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from catalog.vectors.client import VectorsMissing
from servicekit.errors import DeadlineExceeded, Overloaded, ServiceError, Unavailable
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
TRANSIENT = (Unavailable, DeadlineExceeded, Overloaded)

P = ParamSpec("P")
T = TypeVar("T")


def next_delay(delay: float) -> float:
    """The delay after `delay`, in seconds."""
    return min(delay * 2, LONGEST_DELAY)


def jittered(delay: float) -> float:
    """A delay around `delay`, so that those who wait for the same part do not come back together."""
    return delay * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


class Patience:
    """Repeats what is idempotent until it succeeds, for at most `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def persist(self, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call gives. Raises its last error when patience ends, and at once one that waiting does not mend."""
        began = time.monotonic()
        delay = FIRST_DELAY
        while True:
            try:
                return await call(*args, **kwargs)
            except TRANSIENT as error:
                if isinstance(error, VectorsMissing) or time.monotonic() - began > self.seconds:
                    raise
                _log_wait(error)
                await asyncio.sleep(jittered(max(delay, min(error.retry_after or 0.0, LONGEST_DELAY))))
                delay = next_delay(delay)


def _log_wait(error: ServiceError) -> None:
    log.warning("upstream_wait", code=error.code, reason=error.message)
