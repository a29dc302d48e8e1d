"""Regular checks of the upstreams of a service, for its metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import UpstreamMetrics

log = get_logger(__name__)

WATCH_SECONDS = 15.0
# The interval while an upstream does not respond, so that its recovery shows soon.
AWAY_SECONDS = 2.0
CHECK_SECONDS = 2.0


@asynccontextmanager
async def watched_upstreams(
    checks: Mapping[str, Callable[[], Awaitable[object]]], metrics: UpstreamMetrics, seconds: float = WATCH_SECONDS
) -> AsyncIterator[None]:
    """Check the upstreams while the block runs, every `seconds`. A check raises if its upstream does not respond."""

    async def watch(name: str, check: Callable[[], Awaitable[object]]) -> None:
        while True:
            answers = await _answers(name, check)
            metrics.up.labels(name).set(answers)
            await asyncio.sleep(seconds if answers else min(seconds, AWAY_SECONDS))

    async with AsyncExitStack() as stack:
        for name, check in checks.items():
            await stack.enter_async_context(in_background(watch(name, check), f"watch-{name}"))
        yield


async def _answers(name: str, check: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except (ServiceError, TimeoutError):
        return False
    except Exception as error:
        log.error("upstream_check_failed", upstream=name, exc_info=error)
        return False
    return True
