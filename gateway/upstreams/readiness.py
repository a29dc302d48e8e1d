"""Whether the gateway can do its work: every part that it needs has just answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

Check = Callable[[], Awaitable[None]]

CHECK_SECONDS = 2.0
# Anybody may ask as often as they like; the parts are asked at most this often.
KEPT_SECONDS = 0.5


class Readiness:
    """Asks all parts at once."""

    def __init__(self, ourselves: Callable[[], None], checks: Mapping[str, Check]) -> None:
        """ourselves: raises ServiceError when this gateway is about to end, which is news at once."""
        self._ourselves = ourselves
        self._checks = checks
        self._found: dict[str, str] = {}
        self._found_at = float("-inf")
        self._asking = asyncio.Lock()

    def serves(self) -> bool:
        """Whether this gateway takes requests, whatever the parts say: without them it still says what is missing."""
        try:
            self._ourselves()
        except ServiceError:
            return False
        return True

    async def parts(self) -> dict[str, str]:
        """What each part says: "ok", or what is wrong."""
        async with self._asking:
            if time.monotonic() - self._found_at > KEPT_SECONDS:
                names = list(self._checks)
                answers = await asyncio.gather(*(self._ask(name) for name in names))
                self._found = dict(zip(names, answers, strict=True))
                self._found_at = time.monotonic()
        try:
            self._ourselves()
        except ServiceError as error:
            return {**self._found, "gateway": error.message}
        return self._found

    async def _ask(self, name: str) -> str:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._checks[name]()
        except TimeoutError:
            return "does not answer"
        except ServiceError as error:
            return error.message
        except Exception as error:
            # A part that answers with what nobody expected is not ready either; the log says what it was.
            log.error("readiness_check_failed", part=name, exc_info=error)
            return "answers wrongly"
        return "ok"
