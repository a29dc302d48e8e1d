"""Whether the gateway can do its work: every part that it needs answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog

log = get_logger(__name__)

Check = Callable[[], Awaitable[None]]

CHECK_SECONDS = 2.0
# The route needs no key and may be called often; the parts are asked at most once in this time.
CACHE_SECONDS = 0.5


class GatewayReadiness:
    """Check all parts at once."""

    def __init__(self, drain: Callable[[], None], checks: Mapping[str, Check]) -> None:
        """drain: raises ServiceError when this gateway is shutting down; never cached. checks: by name of the part."""
        self._drain = drain
        self._checks = checks
        self._logs = {name: StateLog(log, "readiness_check_failed", part=name) for name in checks}
        self._states: dict[str, str] = {}
        self._checked_at = float("-inf")
        self._checking = asyncio.Lock()

    def serves(self) -> bool:
        """Return whether this gateway takes requests. It takes them even while a part is down, to say which one."""
        try:
            self._drain()
        except ServiceError:
            return False
        return True

    async def parts(self) -> dict[str, str]:
        """Return the state of each part: "ok", or what is wrong."""
        async with self._checking:
            if time.monotonic() - self._checked_at > CACHE_SECONDS:
                states = await asyncio.gather(*(self._check(name) for name in self._checks))
                self._states = dict(zip(self._checks, states, strict=True))
                self._checked_at = time.monotonic()
        try:
            self._drain()
        except ServiceError as error:
            return {**self._states, "gateway": error.message}
        return self._states

    async def _check(self, name: str) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._checks[name]()
        except TimeoutError:
            return "is not responding"
        except ServiceError as error:
            return error.message
        except Exception as error:
            # The details may be internal, so they go to the log only.
            self._logs[name].failure(error)
            return "failed unexpectedly; see the gateway's log"
        self._logs[name].success()
        return "ok"
