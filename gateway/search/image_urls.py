"""Download the images that searches name by URL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from gateway.config import GatewaySettings
from gateway.metrics import GatewayMetrics
from servicekit.download.client import Downloader
from servicekit.download.failures import ImageFailed, Reason
from servicekit.download.limits import DownloadLimits
from servicekit.errors import InvalidRequest, Overloaded
from servicekit.limits import ConcurrencyLimit
from servicekit.request_context import remaining
from servicekit.request_url import checked_url

# A host that is slow, or stops in the middle of large images, holds no more than this share of places and memory.
HOSTS_SHARE = 4


class ImageUrls:
    """Downloads images for searches. Each download waits for its own host only."""

    def __init__(self, downloader: Downloader | None, *, seconds: float, at_once: int, metrics: GatewayMetrics) -> None:
        """downloader: None if this installation downloads none. seconds: for one image. at_once: images."""
        self._downloader = downloader
        self._seconds = seconds
        self._places = ConcurrencyLimit("image URLs", at_once=at_once, waiting=0, wait_seconds=seconds)
        # The most images that are downloaded from one host, or for one search, at a time.
        self.share = max(1, at_once // HOSTS_SHARE)
        self._hosts: Counter[str] = Counter()
        self._metrics = metrics

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: GatewaySettings, metrics: GatewayMetrics) -> AsyncIterator["ImageUrls"]:
        """Open a downloader while entered, if the settings allow one. Raises StartupError."""
        seconds, at_once = settings.image_url_seconds, settings.image_url_concurrency
        if not settings.fetch_image_urls:
            yield cls(None, seconds=seconds, at_once=at_once, metrics=metrics)
            return
        async with Downloader.open(_limits(settings), settings.download_route()) as downloader:
            yield cls(downloader, seconds=seconds, at_once=at_once, metrics=metrics)

    async def fetch(self, url: str) -> bytes:
        """Return the encoded image at a URL.

        Raises InvalidRequest with the failure's reason, or image_url_not_allowed, and Overloaded when too many images
        are being downloaded, in all or from the same host.
        """
        if self._downloader is None:
            message = (
                "This installation downloads no images for searches. Send the image itself as `image`. "
                "An operator can allow image URLs with SIMILIS_FETCH_IMAGE_URLS."
            )
            raise InvalidRequest(message, code="image_url_not_allowed")
        async with self._places.slot():
            with self._place_at_host(url), self._metrics.search_stage("download"):
                try:
                    return await self._download(self._downloader, url)
                except ImageFailed as failure:
                    message = f"The image could not be downloaded from its URL. {failure.detail}"
                    raise InvalidRequest(message, code=failure.reason.value) from failure

    async def _download(self, downloader: Downloader, url: str) -> bytes:
        try:
            async with asyncio.timeout(remaining(self._seconds)), downloader.download(url) as found:
                if found.body is None:
                    raise ImageFailed(Reason.HTTP_ERROR, "The response is empty.")
                return found.body
        except TimeoutError as error:
            detail = f"The download did not end within {self._seconds:g} seconds."
            raise ImageFailed(Reason.TIMEOUT, detail) from error

    @contextmanager
    def _place_at_host(self, url: str) -> Iterator[None]:
        host = host_of(url)
        if self._hosts[host] >= self.share:
            raise Overloaded("Too many images of this host are being downloaded. Try again in a moment.")
        self._hosts[host] += 1
        try:
            yield
        finally:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]


def host_of(url: str) -> str:
    """Return the host of a URL; an empty string if it is not valid."""
    try:
        return checked_url(url).host or ""
    except ValueError:
        # The download fails with the reason.
        return ""


def _limits(settings: GatewaySettings) -> DownloadLimits:
    return DownloadLimits(
        max_bytes=settings.max_image_bytes,
        concurrency=settings.image_url_concurrency,
        per_host=settings.image_url_concurrency,
        # Somebody is waiting for the answer, and can try again.
        attempts=1,
        patience_seconds=0.0,
        paced=False,
        max_redirects=settings.max_redirects,
        total_seconds=settings.image_url_seconds,
        connect_seconds=settings.download_connect_seconds,
        first_byte_seconds=settings.download_first_byte_seconds,
        read_seconds=settings.download_read_seconds,
    )
