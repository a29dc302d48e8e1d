"""Turns: each request to a host waits until the host's pace allows it, in the order in which they arrive."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import inf

from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.host_pace import Held, HostPace, Request
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MAX_HOSTS = 10_000


@dataclass(frozen=True)
class HeldHost:
    """A host that sets the pace, and why. host: its name, with the port unless it is the scheme's own."""

    host: str
    why: Held


class _Host:
    """A host and those who wait for it."""

    def __init__(self, pace: HostPace) -> None:
        self.pace = pace
        self.gate = asyncio.Lock()
        self.changed = asyncio.Event()
        self.present = 0
        self.open = False


class Turn:
    """One request to a host. Its outcome sets the pace of the next ones."""

    def __init__(self, host: _Host, origin: str, request: Request) -> None:
        self._host = host
        self._origin = origin
        self._request = request
        self.quick = host.pace.unknown_and_silent

    def begin_now(self) -> None:
        """Measure the host's time from now on: until now, the request waited for something else."""
        self._request = Request(_now(), self._request.alone)

    def answered(self, *, overloaded: bool = False) -> None:
        """Record the head of an answer that is no request to wait. overloaded: the status is 503."""
        self._host.pace.answered(self._request, _now(), overloaded=overloaded)
        self._note_opening()

    def refused(self, seconds: float | None) -> None:
        """Record a request to wait, for `seconds` if the host named a time. All its images wait."""
        self._host.pace.refused(self._request, _now(), seconds)
        self._note_opening()

    def silent(self) -> bool:
        """Record that no answer came. Return whether this counts as a failed attempt at the image."""
        blamed = self._host.pace.silent(self._request, _now())
        self._note_opening()
        return blamed

    def stalled(self) -> None:
        """Record that an answer began and did not end in time."""
        self._host.pace.stalled(self._request, _now())
        self._note_opening()

    def ended_whole(self) -> None:
        """Record that an answer came to its end."""
        self._host.pace.ended_whole(_now())
        self._note_opening()

    def _note_opening(self) -> None:
        is_open = self._host.pace.is_open(_now())
        if is_open != self._host.open:
            self._host.open = is_open
            log.warning("host_given_up" if is_open else "host_is_back", host=self._origin)


class HostTurns:
    """The turns at all hosts. An origin is `scheme://host:port`."""

    def __init__(self, *, per_host: int, patience: float) -> None:
        """per_host: the most requests at a time for one host. patience: as for `HostPace`."""
        self._per_host = per_host
        self._patience = patience
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    @asynccontextmanager
    async def turn(self, origin: str, *, retry: bool) -> AsyncIterator[Turn]:
        """Wait until the host may be asked; stay entered while it is being asked.

        retry: whether this image was asked for before. Raises ImageFailed with the reason host_unavailable.
        """
        host = self._host(origin)
        host.present += 1
        try:
            async with host.gate:
                await self._until_allowed(host, retry=retry)
                request = host.pace.begin(_now())
            try:
                yield Turn(host, origin, request)
            finally:
                host.pace.end()
                host.changed.set()
        finally:
            host.present -= 1

    def places(self, origin: str) -> int:
        """Return how many downloads of a host to begin at a time: one more than it may be asked for."""
        host = self._hosts.get(origin)
        return self._per_host if host is None else min(host.pace.at_once + 1, self._per_host)

    def held(self, origins: Iterable[str]) -> list[HeldHost]:
        """Return which of these hosts get fewer requests than we would send, by name."""
        now = _now()
        found = ((origin, self._hosts[origin].pace.held(now)) for origin in origins if origin in self._hosts)
        return sorted((HeldHost(_shown(origin), why) for origin, why in found if why), key=lambda held: held.host)

    def _host(self, origin: str) -> _Host:
        host = self._hosts.setdefault(origin, _Host(HostPace(most=self._per_host, patience=self._patience)))
        self._hosts.move_to_end(origin)
        if len(self._hosts) > MAX_HOSTS:
            unused = next(
                (name for name, other in self._hosts.items() if not other.present and other is not host), None
            )
            self._hosts.pop(unused or "", None)
        return host

    async def _until_allowed(self, host: _Host, *, retry: bool) -> None:
        while True:
            host.changed.clear()
            refusal = host.pace.refusal(_now(), retry=retry)
            if refusal is not None:
                raise ImageFailed(Reason.HOST_UNAVAILABLE, refusal)
            delay = host.pace.delay(_now())
            if not delay:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if delay == inf else delay):
                    await host.changed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _shown(origin: str) -> str:
    scheme, _, rest = origin.partition("://")
    return rest.removesuffix(":443" if scheme == "https" else ":80")
