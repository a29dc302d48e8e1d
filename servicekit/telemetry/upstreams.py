"""Regular checks of the upstreams of a service, for its metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from servicekit.errors import DeadlineExceeded
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import UpstreamMetrics
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

WATCH_SECONDS = 15.0
# The interval while an upstream does not respond, so that its recovery shows soon.
AWAY_SECONDS = 2.0
CHECK_SECONDS = 2.0


@asynccontextmanager
async def watched_upstreams(
    checks: Mapping[str, Callable[[], Awaitable[object]]], metrics: UpstreamMetrics, seconds: float = WATCH_SECONDS
) -> AsyncIterator[None]:
    """Check the upstreams while the block runs, every `seconds`, and log when one is lost or back.

    A check raises if its upstream does not respond.
    """

    async def watch(name: str, check: Callable[[], Awaitable[object]]) -> None:
        state = StateLog(log, "upstream_lost", "upstream_back", upstream=name)
        while True:
            responds = await _responds(check, state)
            metrics.up.labels(name).set(responds)
            await asyncio.sleep(seconds if responds else min(seconds, AWAY_SECONDS))

    async with AsyncExitStack() as stack:
        for name, check in checks.items():
            await stack.enter_async_context(in_background(watch(name, check), f"watch-{name}"))
        yield


async def _responds(check: Callable[[], Awaitable[object]], state: StateLog) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        state.failure(DeadlineExceeded(f"No response within {CHECK_SECONDS:g} seconds."))
    except Exception as error:
        state.failure(error)
    else:
        state.success()
        return True
    return False
