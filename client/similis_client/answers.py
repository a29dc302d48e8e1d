"""What the service answers. Fields that this version does not know are ignored.

A field that an older service does not send has its default. Times are in UTC.
"""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """An action was done. message: for people. warnings: what may not be as you meant it."""

    message: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Created(Confirmation):
    """A collection was created. reading_id: of the first reading of its source; None if it has no source."""

    id: int
    reading_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Uploaded(Confirmation):
    """The content of a collection was replaced. reading_id: of a reading that goes on, and will replace it."""

    number_of_images: int
    reading_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class FinetuneStarted(Confirmation):
    """A finetune was queued. job_id: None if there is nothing new to learn."""

    job_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImagesAdded(Confirmation):
    """Images were appended to the content."""

    image_ids: list[int]


@dataclass(frozen=True, kw_only=True)
class KeyInfo(Confirmation):
    """What the API key may do. scope: `read`, `write` or `admin`. collections: None for all."""

    scope: str | None = None
    collections: list[int] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The model that the service embeds images with. text: whether it embeds text too."""

    name: str | None = None
    dimension: int | None = None
    text: bool = False


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """The service. limits: by name."""

    version: str
    backbone: Backbone | None = None
    limits: dict[str, object] = field(default_factory=dict)
    read_key_required: bool = False
    thumbnails: bool = False


@dataclass(frozen=True, kw_only=True)
class CollectionName:
    """The id and the name of a collection."""

    id: int
    name: str


@dataclass(frozen=True, kw_only=True)
class CollectionList:
    """All collections, by id."""

    names: list[CollectionName]


@dataclass(frozen=True, kw_only=True)
class FinetuneCounts:
    """How many images a phase of a finetune has done."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class FinetuneError:
    """Why a finetune failed."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A host that sets the pace of a finetune. reason: `rate_limited`, `slow` or `silent`."""

    host: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RecordCounts:
    """How many records or manifests a reading has read. total: None if the source does not say."""

    done: int
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of a collection, and its newest reading. `docs/api.md` explains the fields."""

    type: str
    url: str
    metadata_prefix: str | None = None
    set: str | None = None
    views: str = "none"
    refresh: str | None = None
    then: str | None = None
    state: str = "never"
    phase: str | None = None
    progress: float | None = None
    counts: RecordCounts | None = None
    paced_by: list[Pace] = field(default_factory=list)
    last_read: datetime | None = None
    next_reading: datetime | None = None
    added: int | None = None
    changed: int | None = None
    removed: int | None = None
    reading_warnings: list[str] = field(default_factory=list)
    error: FinetuneError | None = None

    @property
    def is_being_read(self) -> bool:
        """Whether a reading is queued or running."""
        return self.state in ("queued", "running")


@dataclass(frozen=True, kw_only=True)
class CollectionInfo:
    """A collection and its newest finetune. `docs/api.md` explains the fields."""

    id: int
    name: str
    number_of_images: int
    requires_finetuning: bool
    last_modified: datetime
    last_finetuned: datetime | None = None
    # The spelling is the service's.
    finetuning_progess: float | None = None
    heidicon_tag: str | None = None
    finetuning_state: str = "never"
    finetuning_error: FinetuneError | None = None
    finetuning_phase: str | None = None
    finetuning_counts: FinetuneCounts | None = None
    finetuning_seconds_left: int | None = None
    finetuning_paced_by: list[Pace] = field(default_factory=list)
    finetuning_warnings: list[str] = field(default_factory=list)
    number_of_indexed_images: int | None = None
    number_of_failures: int | None = None
    quality: dict[str, object] | None = None
    source: Source | None = None

    @property
    def is_finetuning(self) -> bool:
        """Whether a finetune is queued or running."""
        return self.finetuning_state in ("queued", "running")


@dataclass(frozen=True, kw_only=True)
class Revision:
    """An earlier content, or the newest one. key: the name of the API key that uploaded it."""

    revision: int
    time: datetime
    rows: int
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Revisions:
    """The last contents of a collection, newest first."""

    revisions: list[Revision]


@dataclass(frozen=True, kw_only=True)
class IndexBackbone:
    """The model that the vectors of an index come from. name: None for indexes of older versions."""

    name: str | None = None
    checksum: str | None = None


@dataclass(frozen=True, kw_only=True)
class Index:
    """A published index. live: whether search uses it."""

    index_id: int
    live: bool = False
    published_at: datetime | None = None
    superseded_at: datetime | None = None
    created_at: datetime | None = None
    job_id: int | None = None
    revision: int | None = None
    number_of_images: int | None = None
    number_of_indexed_images: int | None = None
    number_of_failures: int | None = None
    failures: dict[str, int] = field(default_factory=dict)
    backbone: IndexBackbone | None = None
    dimension: int | None = None
    quality: dict[str, object] | None = None


@dataclass(frozen=True, kw_only=True)
class Indexes:
    """The last published indexes, newest first."""

    indexes: list[Index]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be indexed, or that has something wrong."""

    image_url: str
    repo_url: str
    reason: str
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class FailurePage:
    """A page of failures. next: where the next page starts, None on the last one."""

    failures: list[Failure]
    number_of_failures: int | None = None
    image_warnings: list[Failure] = field(default_factory=list)
    next: int | str | None = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of a collection. state: `pending`, `indexed` or `failed`; reason: why it failed."""

    image_id: int
    image_url: str
    repo_url: str
    state: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImagePage:
    """A page of images. next: where the next page starts, None on the last one."""

    images: list[Image]
    next: int | str | None = None


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Images that show the same picture.

    group: its number in the index. kind: `identical` (the same bytes) or `copy`. score: the weakest similarity in the
    group. images: the first of its `number_of_images`, which belong to `number_of_entries` entries of the repository.
    """

    group: int
    kind: str
    score: float
    number_of_images: int
    number_of_entries: int
    images: list[Image]


@dataclass(frozen=True, kw_only=True)
class DuplicatePage:
    """A page of groups. next: where the next page starts, None on the last one.

    number_of_groups: on all pages. searched: False if no duplicates are known; `warnings` says why. index_id: the index
    that the groups belong to.
    """

    duplicates: list[DuplicateGroup]
    number_of_groups: int = 0
    searched: bool = True
    index_id: int | None = None
    warnings: list[str] = field(default_factory=list)
    next: int | str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """An image that a search found. views: the number of images of its entry, if the search groups by entry.

    collection_id: where it was found, if the search asked several collections.
    """

    image_url: str
    repo_url: str
    score: float
    image_id: int | None = None
    percentile: float | None = None
    false_match_rate: float | None = None
    views: int | None = None
    collection_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """Results, best first. next_offset: the `offset` of the next results, None if there are no more."""

    results: list[Result]
    index_id: int | None = None
    next_offset: int | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A collection that could not be searched, and why."""

    collection_id: int
    code: str
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class MergedAnswer:
    """Results of several collections, by percentile."""

    results: list[Result]
    skipped: list[Skipped] = field(default_factory=list)
    next_offset: int | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BatchAnswers:
    """The answers to a batch, in the order of its queries. Each is a search's answer or a problem."""

    answers: list[dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error as the service describes it (RFC 9457)."""

    status: int
    code: str
    detail: str | None = None
    message: str | None = None
    request_id: str | None = None
