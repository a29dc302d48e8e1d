"""Thumbnails: images of a collection, downloaded once under all limits, sized down, and kept for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from cachetools import TTLCache

from gateway.config import GatewaySettings
from gateway.metrics import GatewayMetrics
from gateway.thumbnails.files import ThumbnailFiles
from gateway.thumbnails.shrinker import Shrinker
from servicekit.download.client import Downloader
from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.limits import DownloadLimits
from servicekit.errors import InvalidRequest
from servicekit.limits import ConcurrencyLimit
from servicekit.process.background import in_background
from servicekit.request_context import remaining
from servicekit.request_url import checked_url

# How many more thumbnails than are made at a time may wait: those of a few pages of results.
WAITING = 128
SECONDS = 20.0
# The most requests to one host at a time, as browsers do it.
PER_HOST = 6
# How long a host is not asked again for an image that it refused, and for how many images this is known.
REFUSED_SECONDS, REFUSED_IMAGES = 60.0, 10_000
CLEAN_UP_SECONDS = 600.0


class Thumbnails:
    """Makes and keeps thumbnails. An image that several requests want is downloaded once."""

    def __init__(
        self,
        downloader: Downloader,
        shrinker: Shrinker,
        files: ThumbnailFiles,
        metrics: GatewayMetrics,
        *,
        at_once: int,
    ) -> None:
        """at_once: the most images that are downloaded and sized down at a time."""
        self._downloader = downloader
        self._shrinker = shrinker
        self._files = files
        self._metrics = metrics
        self._places = ConcurrencyLimit("thumbnails", at_once=at_once, waiting=WAITING, wait_seconds=SECONDS)
        self._refused: TTLCache[str, ImageFailed] = TTLCache(REFUSED_IMAGES, REFUSED_SECONDS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: GatewaySettings, folder: Path, metrics: GatewayMetrics
    ) -> AsyncIterator["Thumbnails | None"]:
        """Yield the thumbnails of this process; None if the settings allow none. folder: for its files."""
        if not settings.serve_thumbnails:
            yield None
            return
        files = ThumbnailFiles(
            folder, most_bytes=settings.thumbnail_cache_bytes, seconds=settings.thumbnail_cache_seconds
        )
        async with AsyncExitStack() as stack:
            downloader = await stack.enter_async_context(Downloader.open(_limits(settings), settings.download_route()))
            shrinker = await stack.enter_async_context(Shrinker.open())
            await stack.enter_async_context(in_background(_clean_up(files), "thumbnail files"))
            yield cls(downloader, shrinker, files, metrics, at_once=settings.thumbnail_concurrency)

    async def get(self, url: str, side: int) -> bytes:
        """Return the image at a URL as a JPEG whose longer side has at most `side` pixels.

        Raises InvalidRequest with the failure's reason, or thumbnails_not_served for a URL with a password, and
        Overloaded.
        """
        if _has_password(url):
            message = "The URL of this image contains credentials, so no thumbnail is served."
            raise InvalidRequest(message, code="thumbnails_not_served")
        # The second one who wants an image finds it in the files.
        async with self._turns.setdefault(f"{side} {url}", asyncio.Lock()):
            kept = await self._files.get(url, side)
            if kept is not None:
                self._metrics.thumbnails.labels("kept").inc()
                return kept
            if (refused := self._refused.get(url)) is not None:
                raise self._failed(refused)
            try:
                made = await self._made(url, side)
            except ImageFailed as failure:
                self._refused[url] = failure
                raise self._failed(failure) from failure
            self._metrics.thumbnails.labels("made").inc()
            await self._files.put(url, side, made)
            return made

    async def _made(self, url: str, side: int) -> bytes:
        async with self._places.slot():
            try:
                async with asyncio.timeout(remaining(SECONDS)), self._downloader.download(url) as found:
                    if found.body is None:
                        raise ImageFailed(Reason.HTTP_ERROR, "The response is empty.")
                    return await self._shrinker.shrink(found.body, side)
            except TimeoutError as error:
                detail = f"The image was not downloaded and resized within {SECONDS:g} seconds."
                raise ImageFailed(Reason.TIMEOUT, detail) from error

    def _failed(self, failure: ImageFailed) -> InvalidRequest:
        self._metrics.thumbnails.labels("failed").inc()
        return InvalidRequest(f"The thumbnail could not be made. {failure.detail}", code=failure.reason.value)


def _has_password(url: str) -> bool:
    try:
        return checked_url(url).raw_user is not None
    except ValueError:
        # The download fails with the reason.
        return False


async def _clean_up(files: ThumbnailFiles) -> None:
    while True:
        await asyncio.sleep(CLEAN_UP_SECONDS)
        await files.remove_old()


def _limits(settings: GatewaySettings) -> DownloadLimits:
    return DownloadLimits(
        max_bytes=settings.max_image_bytes,
        concurrency=settings.thumbnail_concurrency,
        per_host=min(PER_HOST, settings.thumbnail_concurrency),
        # Somebody is waiting for the picture, and can reload the page.
        attempts=1,
        patience_seconds=SECONDS,
        max_redirects=settings.max_redirects,
        total_seconds=SECONDS,
        connect_seconds=settings.download_connect_seconds,
        first_byte_seconds=settings.download_first_byte_seconds,
        read_seconds=settings.download_read_seconds,
    )
