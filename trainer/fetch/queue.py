"""The download queue: bounded, and ordered so that a slow host does not hold up the others."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from servicekit.download.image_version import UNKNOWN, ImageVersion


@dataclass
class QueuedDownload:
    """A URL to download for one or more images.

    host: its origin, `scheme://host:port`. version: the version of the image that all of them have. transferring: it
    has one of its host's places.
    """

    url: str
    host: str
    version: ImageVersion
    image_ids: list[int] = field(default_factory=list)
    transferring: bool = False


class DownloadQueue:
    """A queue that hands out a limited number of downloads for a host at a time.

    Images with the same URL that are queued at the same time share one download.
    """

    def __init__(self, *, look_ahead: int, places: Callable[[str], int]) -> None:
        """look_ahead: the most images that are queued or being downloaded.

        places: returns the limit of a host, at least 1, given its origin. It may change when a download of that host
        ends.
        """
        self._look_ahead = look_ahead
        self._places = places
        self._changed = asyncio.Condition()
        self._downloads: dict[tuple[str, ImageVersion], QueuedDownload] = {}
        self._waiting: dict[str, deque[QueuedDownload]] = {}
        self._running: dict[str, int] = {}
        # The hosts with a waiting download and a free place, in turn.
        self._ready: deque[str] = deque()
        self._images = 0
        self._closed = False

    @property
    def hosts(self) -> Iterable[str]:
        """The origins of the hosts with a download that is waiting or under way."""
        return self._waiting.keys() | self._running.keys()

    async def put(self, image_id: int, url: str, version: ImageVersion = UNKNOWN) -> None:
        """Queue an image of which we have `version`. Waits while the look-ahead is full."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._images < self._look_ahead)
            self._images += 1
            queued = self._downloads.get((url, version))
            if queued is not None:
                queued.image_ids.append(image_id)
                return
            download = QueuedDownload(url, _origin(url), version, [image_id])
            self._downloads[url, version] = download
            waiting = self._waiting.setdefault(download.host, deque())
            waiting.append(download)
            if len(waiting) == 1 and self._has_place(download.host):
                self._ready.append(download.host)
                self._changed.notify_all()

    async def close(self) -> None:
        """Declare that nothing more will be queued."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def get(self) -> QueuedDownload | None:
        """Return the next download, to be ended with `done`; None once the queue is closed and empty."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready or (self._closed and not self._waiting))
            if not self._ready:
                return None
            host = self._ready.popleft()
            waiting = self._waiting[host]
            download = waiting.popleft()
            self._running[host] = self._running.get(host, 0) + 1
            download.transferring = True
            if not waiting:
                del self._waiting[host]
                if self._closed and not self._waiting:
                    self._changed.notify_all()
            elif self._has_place(host):
                self._ready.append(host)
            return download

    async def arrived(self, download: QueuedDownload) -> None:
        """Free the place at the host of a download that has ended but whose result is not known yet."""
        async with self._changed:
            self._free_place(download)
            self._changed.notify_all()

    async def done(self, download: QueuedDownload) -> list[int]:
        """End a download and return the images that share its result."""
        async with self._changed:
            del self._downloads[download.url, download.version]
            self._images -= len(download.image_ids)
            self._free_place(download)
            self._changed.notify_all()
        return download.image_ids

    def _free_place(self, download: QueuedDownload) -> None:
        host = download.host
        if not download.transferring:
            return
        download.transferring = False
        self._running[host] -= 1
        if self._running[host] == 0:
            del self._running[host]
        if host in self._waiting and host not in self._ready and self._has_place(host):
            self._ready.append(host)

    def _has_place(self, host: str) -> bool:
        return self._running.get(host, 0) < self._places(host)


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"
