"""Retries: a job that has run for hours must not fail because a service is down for a few minutes."""

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

from catalog.vectors.client import VectorsMissing
from servicekit.errors import DeadlineExceeded, Overloaded, Unavailable
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# Errors that a later call may not meet.
TRANSIENT = (Unavailable, DeadlineExceeded, Overloaded)

P = ParamSpec("P")
T = TypeVar("T")


class Backoff:
    """Delays between retries, in seconds. Each is twice the one before, with jitter so that clients spread out."""

    def __init__(self, first: float = 0.2, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def delay(self, retry_after: float | None = None) -> float:
        """Return the next delay. retry_after: what the server asked for, honoured up to the longest delay."""
        delay = max(self._next, min(retry_after or 0.0, self._longest))
        self._next = min(self._next * 2, self._longest)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 (not used as a secret)

    def reset(self) -> None:
        """Start again with the first delay."""
        self._next = self._first


class Retry:
    """Retries idempotent calls that fail with a transient error, for at most `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns. Raises permanent errors at once, and the last error when time is up."""
        began = time.monotonic()
        backoff = Backoff()
        while True:
            try:
                return await function(*args, **kwargs)
            except TRANSIENT as error:
                # Waiting does not bring back a Qdrant collection that is gone.
                if isinstance(error, VectorsMissing) or time.monotonic() - began > self._seconds:
                    raise
                log.warning("upstream_wait", code=error.code, reason=error.message)
                await asyncio.sleep(backoff.delay(error.retry_after))

    def wrap(self, store: T) -> T:
        """Return `store` with every call of its coroutine methods retried."""
        return cast("T", _RetriedCalls(store, self))


class _RetriedCalls:
    """Stands for a store; looks its methods up at each call."""

    def __init__(self, store: object, retry: Retry) -> None:
        self._store = store
        self._retry = retry

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._store, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def retried(*args: object, **kwargs: object) -> object:
            return await self._retry.call(found, *args, **kwargs)

        return retried
