"""The manifests of a IIIF collection: it may be nested and paged, and is bounded in number and depth."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from catalog.sources.records import RecordFailure, SourceRecord
from servicekit.download.failures import ImageFailed
from servicekit.errors import ServiceError
from trainer.sources.documents import Documents, parse_json
from trainer.sources.iiif.presentation import CollectionPage, Manifest, parse
from trainer.sources.source_errors import invalid, too_large
from trainer.sources.source_text import record_identifier

MAX_MANIFESTS = 500_000
MAX_COLLECTIONS = 20_000
MAX_DEPTH = 20
PARALLEL = 4


@dataclass
class Listing:
    """The manifests of a source, in order. failed: the collections that could not be read."""

    manifests: dict[str, None] = field(default_factory=dict)
    failed: list[SourceRecord] = field(default_factory=list)
    collections: set[str] = field(default_factory=set)
    repeats: bool = False

    def add(self, page: CollectionPage) -> list[str]:
        """Take what a page lists, and return the collections among it that are new."""
        self.manifests.update(dict.fromkeys(page.manifests))
        new = [address for address in page.collections if address not in self.collections]
        self.repeats |= len(new) < len(page.collections)
        self.collections.update(new)
        return new


async def list_manifests(
    documents: Documents, root: str, first: Manifest | CollectionPage, found: Callable[[int], None]
) -> Listing:
    """Return the manifests below an address, which may itself be one. found: is told their number so far.

    first: what the address has. Raises ServiceError if it lists too much.
    """
    listing = Listing(collections={root})
    if isinstance(first, Manifest):
        listing.manifests[root] = None
        return listing
    level, depth = listing.add(first), 1
    level += _pages(root, first, listing)
    while level:
        _check_bounds(root, listing, depth)
        level = await _next_level(documents, level, listing)
        depth += 1
        found(len(listing.manifests))
    _check_bounds(root, listing, depth)
    if not listing.manifests and listing.repeats:
        raise invalid(root, "the collection refers to itself and lists no manifests")
    return listing


async def _next_level(documents: Documents, level: Sequence[str], listing: Listing) -> list[str]:
    places = asyncio.Semaphore(PARALLEL)

    async def one(address: str) -> list[str]:
        async with places:
            return await _collection(documents, address, listing)

    found = await asyncio.gather(*(one(address) for address in level))
    return [address for addresses in found for address in addresses]


async def _collection(documents: Documents, address: str, listing: Listing) -> list[str]:
    """Read a collection with all its pages, and return the collections in it."""
    nested: list[str] = []
    pending = [address]
    while pending:
        url = pending.pop()
        try:
            document = await documents.read(url, _parser(url), patient=True)
        except (ImageFailed, ServiceError) as failure:
            listing.failed.append(_failed(url, failure))
            continue
        if isinstance(document.content, Manifest):
            listing.manifests[url] = None
        elif document.content is not None:
            nested += listing.add(document.content)
            pending += _pages(url, document.content, listing)
        _check_bounds(address, listing, 0)
    return nested


def _parser(url: str) -> Callable[[bytes], Manifest | CollectionPage]:
    return lambda body: parse(url, parse_json(url, body))


def _pages(url: str, page: CollectionPage, listing: Listing) -> list[str]:
    new = [address for address in page.more if address not in listing.collections and address != url]
    listing.collections.update(new)
    return new


def _failed(url: str, failure: ImageFailed | ServiceError) -> SourceRecord:
    if isinstance(failure, ImageFailed):
        return SourceRecord(record_identifier(url), None, RecordFailure(failure.reason.value, failure.detail))
    return SourceRecord(record_identifier(url), None, RecordFailure(failure.code, failure.message))


def _check_bounds(root: str, listing: Listing, depth: int) -> None:
    if len(listing.manifests) > MAX_MANIFESTS:
        raise too_large(root, f"the collection has more than {MAX_MANIFESTS:,} manifests")
    if len(listing.collections) > MAX_COLLECTIONS:
        raise too_large(root, f"the collection has more than {MAX_COLLECTIONS:,} collections and pages")
    if depth > MAX_DEPTH:
        raise too_large(root, f"the collection is nested more than {MAX_DEPTH} levels deep")
