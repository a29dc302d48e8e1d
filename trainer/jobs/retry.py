"""Retries: a job that has run for hours must not fail because a service is down for a few minutes."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

from catalog.vectors.client import VectorsDamaged, VectorsMissing
from servicekit.backoff import Backoff
from servicekit.errors import DeadlineExceeded, Overloaded, Unavailable
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# Errors that a later call may not meet.
TRANSIENT = (Unavailable, DeadlineExceeded, Overloaded)

P = ParamSpec("P")
T = TypeVar("T")


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
                # Waiting does not bring back a Qdrant collection that is gone or damaged.
                if isinstance(error, VectorsMissing | VectorsDamaged) or time.monotonic() - began > self._seconds:
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
