"""Circuit breakers for the hosts of images (Nygard, 2007, "Release It!").

A host that asks for a pause gets it. After several failures in a row a host is suspected: it gets one request at a
time. After some more its breaker opens: its images fail at once, and a probe now and then finds out whether it is back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from yarl import URL

from servicekit.telemetry.logs import get_logger
from trainer.download.failures import ImageFailed, Reason

log = get_logger(__name__)

# Failures in a row (no answer, or a request to wait) until a host is suspected, and until its breaker opens.
SUSPECT_AFTER = 8
OPEN_AFTER = 11
# Between two probes of a host whose breaker is open.
PROBE_SECONDS = 15.0
# The longest pause that a host gets, since all its images wait: a single one may ask for a year.
LONGEST_PAUSE = 60.0
MAX_BREAKERS = 10_000


class _Breaker:
    """The failures of a host since it last answered. Times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self.failures = 0
        # Whether the last failure was that the host did not answer.
        self.silent = False
        self.paused_until = 0.0
        self.probe_at = 0.0
        self.one_at_a_time = asyncio.Lock()

    @property
    def suspected(self) -> bool:
        return self.failures >= SUSPECT_AFTER

    @property
    def open(self) -> bool:
        return self.failures >= OPEN_AFTER

    def check(self, now: float, *, retry: bool) -> None:
        """Raise ImageFailed if the host must not be asked now.

        An image that met a suspected host's silence is not retried, so that its retries do not use up the probes.
        """
        if (self.open and now < self.probe_at) or (self.suspected and self.silent and retry):
            detail = "The host does not answer." if self.silent else "The host keeps asking us to wait."
            raise ImageFailed(Reason.HOST_UNAVAILABLE, detail)


class HostBreakers:
    """The breakers of all hosts. A host without failures takes no memory."""

    def __init__(self) -> None:
        self._breakers: OrderedDict[str, _Breaker] = OrderedDict()

    @asynccontextmanager
    async def admit(self, url: URL, *, retry: bool) -> AsyncIterator[None]:
        """Wait until the URL's host may be asked; stay entered while it is being asked.

        retry: whether this image was asked for before. Raises ImageFailed with the reason host_unavailable.
        """
        now = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            alone: _Breaker | None = None
            while (breaker := self._breakers.get(_name(url))) is not None:
                breaker.check(now(), retry=retry)
                if breaker.suspected and breaker is not alone:
                    await stack.enter_async_context(breaker.one_at_a_time)
                    alone = breaker
                elif now() < breaker.paused_until:
                    await asyncio.sleep(breaker.paused_until - now())
                else:
                    breaker.probe_at = now() + PROBE_SECONDS
                    break
            yield

    def answered(self, url: URL) -> None:
        """Record that the host answered, with whatever status. A pause that it asked for continues."""
        breaker = self._breakers.get(_name(url))
        if breaker is None:
            return
        if breaker.open:
            log.info("host_breaker_closed", host=_name(url))
        breaker.failures = 0
        if breaker.paused_until <= asyncio.get_running_loop().time():
            del self._breakers[_name(url)]

    def silent(self, url: URL) -> None:
        """Record that the host refused the connection or did not answer in time."""
        self._failed(url, silent=True)

    def asked_to_wait(self, url: URL, seconds: float) -> None:
        """Record that the host wants no requests for this time. All its images wait."""
        until = asyncio.get_running_loop().time() + min(seconds, LONGEST_PAUSE)
        breaker = self._failed(url, silent=False)
        breaker.paused_until = max(breaker.paused_until, until)

    def _failed(self, url: URL, *, silent: bool) -> _Breaker:
        breaker = self._breakers.setdefault(_name(url), _Breaker())
        breaker.failures += 1
        breaker.silent = silent
        if breaker.failures == OPEN_AFTER:
            log.warning("host_breaker_opened", host=_name(url), silent=silent)
        if breaker.open:
            breaker.probe_at = asyncio.get_running_loop().time() + PROBE_SECONDS
        if len(self._breakers) > MAX_BREAKERS:
            self._breakers.popitem(last=False)
        return breaker


def _name(url: URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port}"
