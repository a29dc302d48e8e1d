"""Sources: where the content of an imported collection is kept, and what became of reading it."""

from dataclasses import dataclass, field

from similis_client.answers import Confirmation, Source


@dataclass(frozen=True, kw_only=True)
class IiifSource:
    """IIIF manifests. url: of a manifest, or of a collection of manifests.

    views: `manifest` if the images of a manifest are views of one object. refresh: `daily` or `weekly`. then:
    `finetune`, after each reading that has changed the content.
    """

    url: str
    views: str | None = None
    refresh: str | None = None
    then: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return what is sent."""
        return _given({"type": "iiif", "url": self.url}, views=self.views, refresh=self.refresh, then=self.then)


@dataclass(frozen=True, kw_only=True)
class OaiSource:
    """An OAI-PMH repository. url: its base URL. metadata_prefix: the format, such as `lido`.

    set: only records of this set. since: only records that have changed since this date, such as `2026-01-31`. views:
    `none` if the images of a record are no views of one object. refresh, then: as for IIIF.
    """

    url: str
    metadata_prefix: str
    set: str | None = None
    since: str | None = None
    views: str | None = None
    refresh: str | None = None
    then: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return what is sent."""
        required: dict[str, object] = {"type": "oai", "url": self.url, "metadata_prefix": self.metadata_prefix}
        optional = {"set": self.set, "from": self.since, "views": self.views}
        return _given(required, **optional, refresh=self.refresh, then=self.then)


@dataclass(frozen=True, kw_only=True)
class RecordFailure:
    """A record, or the address of a manifest, that brought no image."""

    record: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class SourceStatus:
    """A source, and a page of the records that brought no image. failure_counts: their number, by reason."""

    source: Source
    failure_counts: dict[str, int] = field(default_factory=dict)
    failures: list[RecordFailure] = field(default_factory=list)
    next: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReadingStarted(Confirmation):
    """A reading was queued, or cancelled. reading_id: None if there is none."""

    reading_id: int | None = None


def _given(required: dict[str, object], **optional: str | None) -> dict[str, object]:
    return required | {name: value for name, value in optional.items() if value is not None}
