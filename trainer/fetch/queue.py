"""The images that wait for their download: a bounded look-ahead, ordered so that no host holds up the others."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from catalog.image_versions import UNKNOWN, ImageVersion


@dataclass
class Wanted:
    """A URL, and the images (rows) that are found there. known: the version of it that all of them have."""

    url: str
    host: str
    known: ImageVersion
    ids: list[int] = field(default_factory=list)


class DownloadQueue:
    """Gives out at most `per_host` downloads for a host at a time; equal URLs that wait together are one download."""

    def __init__(self, *, look_ahead: int, per_host: int) -> None:
        self._look_ahead = look_ahead
        self._per_host = per_host
        self._changed = asyncio.Condition()
        self._known: dict[tuple[str, ImageVersion], Wanted] = {}
        self._waiting: dict[str, deque[Wanted]] = {}
        self._running: dict[str, int] = {}
        # Hosts that have somebody waiting and a place free, in turn.
        self._ready: deque[str] = deque()
        self._images = 0
        self._closed = False

    async def put(self, image_id: int, url: str, version: ImageVersion = UNKNOWN) -> None:
        """Adds an image of which this version is known; waits while the look-ahead is full."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._images < self._look_ahead)
            self._images += 1
            known = self._known.get((url, version))
            if known is not None:
                known.ids.append(image_id)
                return
            wanted = Wanted(url, _host(url), version, [image_id])
            self._known[url, version] = wanted
            waiting = self._waiting.setdefault(wanted.host, deque())
            waiting.append(wanted)
            if len(waiting) == 1 and self._running.get(wanted.host, 0) < self._per_host:
                self._ready.append(wanted.host)
                self._changed.notify_all()

    async def close(self) -> None:
        """Says that nothing more will come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def get(self) -> Wanted | None:
        """The next download, which ends with `done`; None when there will be none any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready or (self._closed and not self._waiting))
            if not self._ready:
                return None
            host = self._ready.popleft()
            waiting = self._waiting[host]
            wanted = waiting.popleft()
            self._running[host] = self._running.get(host, 0) + 1
            if not waiting:
                del self._waiting[host]
                if self._closed and not self._waiting:
                    self._changed.notify_all()
            elif self._running[host] < self._per_host:
                self._ready.append(host)
            return wanted

    async def done(self, wanted: Wanted) -> list[int]:
        """Ends a download; gives the images that share its outcome."""
        async with self._changed:
            del self._known[wanted.url, wanted.known]
            self._images -= len(wanted.ids)
            self._running[wanted.host] -= 1
            if self._running[wanted.host] == 0:
                del self._running[wanted.host]
            freed = self._running.get(wanted.host, 0) == self._per_host - 1
            if freed and wanted.host in self._waiting and wanted.host not in self._ready:
                self._ready.append(wanted.host)
            self._changed.notify_all()
        return wanted.ids


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
