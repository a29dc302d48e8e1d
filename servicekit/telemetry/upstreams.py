"""Regular checks of the upstreams of a service, for its metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from servicekit.errors import DeadlineExceeded, Unavailable
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import UpstreamMetrics
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

WATCH_SECONDS = 15.0
# The interval while an upstream does not respond, so that its recovery shows soon.
AWAY_SECONDS = 2.0
CHECK_SECONDS = 2.0
# So long after the start, upstreams may still be starting: that they do not respond is not worth a warning.
START_SECONDS = 30.0


@asynccontextmanager
async def watched_upstreams(
    checks: Mapping[str, Callable[[], Awaitable[object]]], metrics: UpstreamMetrics, seconds: float = WATCH_SECONDS
) -> AsyncIterator[None]:
    """Check the upstreams while the block runs, every `seconds`, and log when one is lost or back.

    A check raises if its upstream does not respond.
    """

    async def watch(name: str, check: Callable[[], Awaitable[object]]) -> None:
        state = StateLog(log, "upstream_lost", "upstream_back", upstream=name)
        began, has_responded = time.monotonic(), False
        while True:
            failure = await _failure(check)
            has_responded = has_responded or failure is None
            if failure is None:
                state.success()
            elif has_responded or time.monotonic() - began > START_SECONDS or not _may_be_starting(failure):
                state.failure(failure)
            metrics.up.labels(name).set(failure is None)
            await asyncio.sleep(seconds if failure is None else min(seconds, AWAY_SECONDS))

    async with AsyncExitStack() as stack:
        for name, check in checks.items():
            await stack.enter_async_context(in_background(watch(name, check), f"watch-{name}"))
        yield


async def _failure(check: Callable[[], Awaitable[object]]) -> Exception | None:
    """Return why an upstream does not respond; None if it does."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return DeadlineExceeded(f"No response within {CHECK_SECONDS:g} seconds.")
    except Exception as error:
        return error
    return None


def _may_be_starting(error: Exception) -> bool:
    """Return whether an error is what a service that has not started yet causes."""
    if isinstance(error, Unavailable):
        return error.code.endswith("unavailable")
    return isinstance(error, DeadlineExceeded)
