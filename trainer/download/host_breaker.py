"""The hosts that images come from: one that asks for a pause gets it, one that does not answer is not asked for long.

A host in trouble is suspected first, and asked one thing at a time. If that does not help it is given up: what is
wanted of it fails at once, and one request now and then finds out whether it is back. (Nygard, 2007, "Release It!",
calls this a circuit breaker.)
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from yarl import URL

from servicekit.telemetry.logs import get_logger
from trainer.download.failures import ImageFailed, Reason

log = get_logger(__name__)

# Attempts in a row that found no answer, or were told to wait, until a host is suspected, and until it is given up.
SUSPECT_AFTER = 8
GIVEN_UP_AFTER = 11
# Between two requests to a host that was given up.
PROBE_SECONDS = 15.0
# The longest pause that a host gets for all of its images: one of them may be away for a year.
LONGEST_PAUSE = 60.0
# Hosts in trouble that are remembered.
MAX_REMEMBERED = 10_000


class _Trouble:
    """What went wrong with a host since it last answered. Times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self.attempts = 0
        self.silent = False
        self.paused_until = 0.0
        self.probe_at = 0.0
        self.one_at_a_time = asyncio.Lock()

    @property
    def suspected(self) -> bool:
        return self.attempts >= SUSPECT_AFTER

    @property
    def given_up(self) -> bool:
        return self.attempts >= GIVEN_UP_AFTER

    def refuse(self, now: float, *, again: bool) -> None:
        """Raises ImageFailed if nothing should be asked now; an image that found no answer is not the one to probe."""
        if (self.given_up and now < self.probe_at) or (self.suspected and self.silent and again):
            what = "it does not answer" if self.silent else "it asks to wait, again and again"
            raise ImageFailed(Reason.HOST_UNAVAILABLE, what)


class Hosts:
    """Who may be asked, and when. Hosts without trouble take no memory."""

    def __init__(self) -> None:
        self._troubled: OrderedDict[str, _Trouble] = OrderedDict()

    @asynccontextmanager
    async def turn(self, url: URL, *, again: bool) -> AsyncIterator[None]:
        """Entered when the URL's host may be asked, for as long as that takes.

        again: whether it was asked for this image before. Raises ImageFailed, host_unavailable.
        """
        now = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            alone: _Trouble | None = None
            while (trouble := self._troubled.get(_name(url))) is not None:
                trouble.refuse(now(), again=again)
                if trouble.suspected and trouble is not alone:
                    await stack.enter_async_context(trouble.one_at_a_time)
                    alone = trouble
                elif now() < trouble.paused_until:
                    await asyncio.sleep(trouble.paused_until - now())
                else:
                    trouble.probe_at = now() + PROBE_SECONDS
                    break
            yield

    def answered(self, url: URL) -> None:
        """The host gave an answer, whatever it was. A pause that it asked for goes on."""
        trouble = self._troubled.get(_name(url))
        if trouble is None:
            return
        if trouble.given_up:
            log.info("host_back", host=_name(url))
        trouble.attempts = 0
        if trouble.paused_until <= asyncio.get_running_loop().time():
            del self._troubled[_name(url)]

    def found_silent(self, url: URL) -> None:
        """The host cannot be connected to, or said nothing in time."""
        self._trouble(url, silent=True)

    def asked_to_wait(self, url: URL, seconds: float) -> None:
        """The host wants no requests for so long; all of its images wait."""
        until = asyncio.get_running_loop().time() + min(seconds, LONGEST_PAUSE)
        trouble = self._trouble(url, silent=False)
        trouble.paused_until = max(trouble.paused_until, until)

    def _trouble(self, url: URL, *, silent: bool) -> _Trouble:
        trouble = self._troubled.setdefault(_name(url), _Trouble())
        trouble.attempts += 1
        trouble.silent = silent
        if trouble.attempts == GIVEN_UP_AFTER:
            log.warning("host_given_up", host=_name(url), silent=silent)
        if trouble.given_up:
            trouble.probe_at = asyncio.get_running_loop().time() + PROBE_SECONDS
        if len(self._troubled) > MAX_REMEMBERED:
            self._troubled.popitem(last=False)
        return trouble


def _name(url: URL) -> str:
    return f"{url.scheme}://{url.host}:{url.port}"
