"""IIIF Change Discovery 1.0: a stream of activities that says which manifests were changed, newest last."""

from dataclasses import dataclass, field
from functools import partial

from trainer.sources.documents import Documents, parse_json
from trainer.sources.iiif.json_values import Resource, identifier, kind, resource, resources, string
from trainer.sources.source_errors import invalid, too_large
from trainer.sources.source_text import web_address

MAX_PAGES = 50_000
MAX_CHANGED = 500_000
STREAM, PAGE = "OrderedCollection", "OrderedCollectionPage"
WRITTEN = ("Create", "Update", "Add", "Move")
GONE = ("Delete", "Remove")


@dataclass(frozen=True)
class ActivityStream:
    """A stream. last: the address of its last page; None if it has no page."""

    last: str | None


@dataclass
class Changes:
    """What a stream says about manifests since a moment: the newest activity of each counts.

    latest: the moment of the newest activity; None if the stream does not say it.
    """

    written: dict[str, None] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    latest: str | None = None
    # After a refresh, the earlier activities of the stream only say what is gone.
    only_gone: bool = False

    def is_known(self, address: str) -> bool:
        """Return whether a newer activity was met."""
        return address in self.written or address in self.gone


def stream_of(document: object) -> ActivityStream | None:
    """Return the stream in a document; None if it is something else."""
    found = resource(document)
    if kind(found) != STREAM:
        return None
    return ActivityStream(web_address(identifier(found.get("last"))))


async def read_changes(documents: Documents, root: str, stream: ActivityStream, since: str | None) -> Changes:
    """Read the pages of a stream from the last one backwards. since: until this moment; None: all of them.

    Raises ServiceError.
    """
    changes, seen, url = Changes(), set[str](), stream.last
    while url is not None:
        if url in seen:
            raise invalid(url, "the pages of the stream form a loop")
        seen.add(url)
        page = await documents.require(url, partial(_page, url))
        if not _take(changes, page, since):
            break
        if len(seen) > MAX_PAGES or len(changes.written) > MAX_CHANGED:
            raise too_large(root, f"the stream has more than {MAX_PAGES:,} pages or {MAX_CHANGED:,} changed manifests")
        url = web_address(identifier(page.get("prev")))
    return changes


def _page(url: str, body: bytes) -> Resource:
    found = resource(parse_json(url, body))
    if kind(found) != PAGE:
        raise invalid(url, f"expected a page of activities, found JSON of the type “{kind(found)[:60]}”")
    return found


def _take(changes: Changes, page: Resource, since: str | None) -> bool:
    """Take the activities of a page, newest first. Return whether earlier pages matter."""
    for activity in reversed(list(resources(page.get("orderedItems")))):
        moment = string(activity.get("endTime"))
        if moment is not None and since is not None and moment < since:
            return False
        changes.latest = max(changes.latest or "", moment or "") or None
        if kind(activity) == "Refresh":
            if since is None:
                return False
            changes.only_gone = True
            continue
        _take_activity(changes, activity)
    return True


def _take_activity(changes: Changes, activity: Resource) -> None:
    name, thing = kind(activity), resource(activity.get("object"))
    address = web_address(identifier(thing))
    if address is None or kind(thing) not in ("Manifest", ""):
        return
    if name == "Move":
        _mark_gone(changes, address)
        address = web_address(identifier(activity.get("target")))
        if address is None:
            return
    if name in GONE:
        _mark_gone(changes, address)
    elif name in WRITTEN and not changes.only_gone and not changes.is_known(address):
        changes.written[address] = None


def _mark_gone(changes: Changes, address: str) -> None:
    if not changes.is_known(address):
        changes.gone[address] = None
