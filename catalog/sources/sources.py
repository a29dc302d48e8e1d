"""Sources: where the content of an imported collection is kept, and what became of its readings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from catalog import collections
from catalog.collections import not_found
from catalog.postgres.database import Connection, Database
from catalog.postgres.notifications import notify

INSERT = """
INSERT INTO sources (collection_id, type, url, metadata_prefix, set_spec, from_date, views, refresh, then_finetune,
    next_reading)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, {next_reading})
"""

NEXT_READING = "now() + CASE {refresh} WHEN 'daily' THEN interval '1 day' WHEN 'weekly' THEN interval '7 days' END"

SELECT = """
SELECT s.*, r.id AS newest_id, r.whole AS newest_whole, r.state, r.phase, r.progress, r.phase_done, r.phase_total,
       r.paced_by, r.warnings, r.error_code, r.error_message
FROM sources s
JOIN collections c ON c.id = s.collection_id AND c.deleting_at IS NULL
LEFT JOIN LATERAL (
    SELECT * FROM source_readings WHERE collection_id = s.collection_id ORDER BY id DESC LIMIT 1
) r ON true
WHERE s.collection_id = $1
"""

# A collection from HeidICON gets a source when reading it takes too long for a request.
PUT_HEIDICON = """
INSERT INTO sources (collection_id, type, url, set_spec, views) VALUES ($1, 'heidicon', $2, $3, true)
ON CONFLICT (collection_id) DO UPDATE SET url = excluded.url, set_spec = excluded.set_spec
"""

ACTIVE = "SELECT id, state FROM source_readings WHERE collection_id = $1 AND state IN ('queued', 'running')"

ENQUEUE = "INSERT INTO source_readings (collection_id, whole, key_name) VALUES ($1, $2, $3) RETURNING id, state"

SCHEDULE = f"""
UPDATE sources SET refresh = $2, then_finetune = $3, next_reading = {NEXT_READING.format(refresh="$2")}
WHERE collection_id = $1
"""  # noqa: S608 (a constant)

# A source that is being read already is not read again at once.
ENQUEUE_DUE = f"""
WITH due AS (
    UPDATE sources s SET next_reading = {NEXT_READING.format(refresh="s.refresh")}
    FROM collections c
    WHERE c.id = s.collection_id AND c.deleting_at IS NULL AND s.next_reading <= now()
    RETURNING s.collection_id
)
INSERT INTO source_readings (collection_id, whole) SELECT collection_id, false FROM due
ON CONFLICT (collection_id) WHERE state IN ('queued', 'running') DO NOTHING
RETURNING collection_id
"""  # noqa: S608 (a constant)

FAILURE_COUNTS = """
SELECT failure_reason, count(*) AS n FROM source_records
WHERE collection_id = $1 AND failure_reason IS NOT NULL GROUP BY failure_reason ORDER BY n DESC, failure_reason
"""

FAILURES = """
SELECT ordinal, identifier, failure_reason, failure_detail FROM source_records
WHERE collection_id = $1 AND failure_reason IS NOT NULL AND ordinal > $2 ORDER BY ordinal LIMIT $3
"""


class SourceType(StrEnum):
    """The protocols that sources speak."""

    IIIF = "iiif"
    OAI = "oai"
    HEIDICON = "heidicon"


class Refresh(StrEnum):
    """How often a source is read again without being asked to."""

    DAILY = "daily"
    WEEKLY = "weekly"


@dataclass(frozen=True)
class NewSource:
    """What a client says about a source.

    metadata_prefix, set_spec, from_date: of OAI-PMH, as sent to the repository; set_spec is the id of the tag for
    HeidICON. views: images with one repository URL
    are views of one object. refresh: None: it is read on request only. then_finetune: finetune after each reading if
    search does not serve the newest content.
    """

    type: SourceType
    url: str
    metadata_prefix: str | None = None
    set_spec: str | None = None
    from_date: str | None = None
    views: bool = False
    refresh: Refresh | None = None
    then_finetune: bool = False


@dataclass(frozen=True)
class NewestReading:
    """The newest reading of a source. done, total: records; None if unknown. paced_by: as in `NewestJob`."""

    id: int
    whole: bool
    state: str
    phase: str
    progress: float
    done: int | None
    total: int | None
    paced_by: str | None
    warnings: Sequence[str]
    error_code: str | None
    error_message: str | None

    @property
    def active(self) -> bool:
        """Whether the reading is queued or running."""
        return self.state in ("queued", "running")


@dataclass(frozen=True)
class Source:
    """The source of a collection.

    last_read, last_whole: when the last complete reading ended, and the last one that asked for everything.
    changed_since: where the next reading begins; None: it asks for everything. added, changed, removed: what the last
    complete reading did to the images; None before the first one.
    """

    collection_id: int
    settings: NewSource
    next_reading: datetime | None
    last_read: datetime | None
    last_whole: datetime | None
    changed_since: str | None
    added: int | None
    changed: int | None
    removed: int | None
    newest: NewestReading | None


@dataclass(frozen=True)
class QueuedReading:
    """A reading that was asked for. new: False if it was queued or running already."""

    id: int
    state: str
    new: bool


@dataclass(frozen=True)
class FailedRecord:
    """A record without images, and why. ordinal: its place in the order in which records were first read."""

    ordinal: int
    identifier: str
    reason: str
    detail: str


class Sources:
    """The sources in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_collection(self, name: str, source: NewSource, key_name: str | None) -> tuple[int, int]:
        """Create a collection with a source, queue its first reading, and return the ids of both."""
        async with self._database.transaction() as connection:
            collection_id = await collections.insert(connection, name, None)
            await connection.execute(
                INSERT.format(next_reading=NEXT_READING.format(refresh="$8")),
                collection_id,
                source.type.value,
                source.url,
                source.metadata_prefix,
                source.set_spec,
                source.from_date,
                source.views,
                source.refresh,
                source.then_finetune,
            )
            reading = await _enqueue(connection, collection_id, whole=True, key_name=key_name)
        return collection_id, reading.id

    async def create_from_heidicon(
        self, name: str, tag: str, instance: str, tag_id: int, key_name: str | None
    ) -> tuple[int, int]:
        """Create a collection from HeidICON, queue its first reading, and return the ids of both.

        tag: as the client wrote it. instance, tag_id: the address of the EasyDB instance, and the tag there.
        """
        async with self._database.transaction() as connection:
            collection_id = await collections.insert(connection, name, tag)
            await connection.execute(PUT_HEIDICON, collection_id, instance, str(tag_id))
            reading = await _enqueue(connection, collection_id, whole=True, key_name=key_name)
        return collection_id, reading.id

    async def enqueue_heidicon(
        self, collection_id: int, instance: str, tag_id: int, key_name: str | None
    ) -> QueuedReading:
        """Queue a reading of a collection from HeidICON, unless one is queued or running. Raises as `enqueue`."""
        async with self._database.transaction() as connection:
            await collections.lock(connection, collection_id)
            await connection.execute(PUT_HEIDICON, collection_id, instance, str(tag_id))
            active = await connection.fetchrow(ACTIVE, collection_id)
            if active is not None:
                return QueuedReading(active["id"], active["state"], new=False)
            return await _enqueue(connection, collection_id, whole=True, key_name=key_name)

    async def find(self, collection_id: int) -> Source | None:
        """Return the source of a collection; None if it has none or does not exist."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SELECT, collection_id)
        return None if row is None else _source(row)

    async def enqueue(self, collection_id: int, *, whole: bool, key_name: str | None) -> QueuedReading:
        """Queue a reading, unless one is queued or running. The collection must have a source.

        whole: ask for everything. key_name: of the API key that asks. Raises InvalidRequest, collection_not_found.
        """
        async with self._database.transaction() as connection:
            await collections.lock(connection, collection_id)
            active = await connection.fetchrow(ACTIVE, collection_id)
            if active is not None:
                return QueuedReading(active["id"], active["state"], new=False)
            return await _enqueue(connection, collection_id, whole=whole, key_name=key_name)

    async def enqueue_due(self) -> list[int]:
        """Queue a reading of each source whose time has come, and return the collections."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(ENQUEUE_DUE)
            if rows:
                await notify(connection)
        return [row["collection_id"] for row in rows]

    async def schedule(self, collection_id: int, refresh: Refresh | None, *, then_finetune: bool) -> None:
        """Change when a source is read again. Raises InvalidRequest, collection_not_found."""
        async with self._database.connection() as connection:
            if await connection.execute(SCHEDULE, collection_id, refresh, then_finetune) == "UPDATE 0":
                raise not_found(collection_id)

    async def failure_counts(self, collection_id: int) -> dict[str, int]:
        """Count the records without images, by reason."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(FAILURE_COUNTS, collection_id)
        return {row["failure_reason"]: row["n"] for row in rows}

    async def failures(self, collection_id: int, *, after: int, limit: int) -> list[FailedRecord]:
        """List records without images, in the order in which they were first read."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(FAILURES, collection_id, after, limit)
        return [
            FailedRecord(row["ordinal"], row["identifier"], row["failure_reason"], row["failure_detail"])
            for row in rows
        ]


async def _enqueue(connection: Connection, collection_id: int, *, whole: bool, key_name: str | None) -> QueuedReading:
    row = await connection.fetchrow(ENQUEUE, collection_id, whole, key_name)
    assert row is not None, "an INSERT returns its row"  # noqa: S101
    await notify(connection)
    return QueuedReading(row["id"], row["state"], new=True)


def _source(row: asyncpg.Record) -> Source:
    settings = NewSource(
        type=SourceType(row["type"]),
        url=row["url"],
        metadata_prefix=row["metadata_prefix"],
        set_spec=row["set_spec"],
        from_date=row["from_date"],
        views=row["views"],
        refresh=None if row["refresh"] is None else Refresh(row["refresh"]),
        then_finetune=row["then_finetune"],
    )
    return Source(
        collection_id=row["collection_id"],
        settings=settings,
        next_reading=row["next_reading"],
        last_read=row["last_read"],
        last_whole=row["last_whole"],
        changed_since=row["changed_since"],
        added=row["added"],
        changed=row["changed"],
        removed=row["removed"],
        newest=None if row["newest_id"] is None else _newest(row),
    )


def _newest(row: asyncpg.Record) -> NewestReading:
    return NewestReading(
        id=row["newest_id"],
        whole=row["newest_whole"],
        state=row["state"],
        phase=row["phase"],
        progress=row["progress"],
        done=row["phase_done"],
        total=row["phase_total"],
        paced_by=row["paced_by"],
        warnings=row["warnings"],
        error_code=row["error_code"],
        error_message=row["error_message"],
    )
