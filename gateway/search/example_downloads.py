"""Download the images that the examples of a search name."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from gateway.search.concurrency import concurrently
from gateway.search.image_urls import ImageUrls, host_of
from gateway.upstreams.embedder import COPIES
from servicekit.errors import InvalidRequest, TooLarge
from servicekit.limits import ByteAccount
from servicekit.quantities import size_in_words


class ExampleDownloads:
    """Downloads for one search at a time. An image that several examples name is downloaded once."""

    def __init__(self, image_urls: ImageUrls) -> None:
        self._image_urls = image_urls

    async def files(self, urls: Sequence[str | None], memory: ByteAccount) -> list[bytes | None]:
        """Return the encoded images at URLs; None where there is no URL.

        memory: takes the images, as many times as they are named. Raises what `ImageUrls.fetch` raises, and TooLarge,
        image_too_large, for images that the memory can never take together.
        """
        hosts: dict[str, list[str]] = {}
        for url in dict.fromkeys(filter(None, urls)):
            hosts.setdefault(host_of(url), []).append(url)
        calls = (partial(self._from_host, on_host, urls, memory) for on_host in hosts.values())
        found = {
            url: file for files in await concurrently(calls, at_once=self._image_urls.share) for url, file in files
        }
        return [None if url is None else found[url] for url in urls]

    async def _from_host(
        self, on_host: Sequence[str], urls: Sequence[str | None], memory: ByteAccount
    ) -> list[tuple[str, bytes]]:
        """Download images one after the other, so that a search leaves other searches their share of the host."""
        found = []
        for url in on_host:
            try:
                file = await self._image_urls.fetch(url)
            except InvalidRequest as error:
                if len(urls) == 1:
                    raise
                raise InvalidRequest(f"examples[{urls.index(url)}]: {error.message}", code=error.code) from error
            _take(memory, len(file) * Counter(urls)[url])
            found.append((url, file))
        return found


def _take(memory: ByteAccount, size: int) -> None:
    if memory.taken + COPIES * size > memory.most:
        message = f"The images of a request may have at most {size_in_words(memory.most // COPIES)} together."
        raise TooLarge(message, code="image_too_large")
    memory.take(COPIES * size)
