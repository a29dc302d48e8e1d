"""Collections: clients create, fill, finetune and search them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from catalog.postgres.database import Connection, Database
from catalog.postgres.notifications import notify
from servicekit.errors import InvalidRequest
from servicekit.process.fault_points import FaultPoint

# Of an index `i`: it has a plain projection, and serves while the adapter is learned.
PROVISIONAL = "coalesce((i.quality ->> 'provisional')::boolean, false)"

SELECT = f"""
SELECT c.id, c.name, c.heidicon_tag, s.type AS source_type, c.content_revision, c.last_modified, c.last_finetuned,
       coalesce(t.row_count, 0) AS row_count,
       i.backbone AS live_backbone, i.quality AS live_quality, coalesce(i.image_count, 0) AS live_images,
       coalesce(l.digest = t.digest AND i.lost_at IS NULL AND NOT {PROVISIONAL}, false) AS live_is_newest,
       j.id AS job_id, j.state AS job_state, j.phase AS job_phase, j.progress AS job_progress,
       j.phase_done, j.phase_total, j.seconds_left, j.paced_by, j.warnings,
       j.error_code, j.error_message
FROM collections c
LEFT JOIN sources s ON s.collection_id = c.id
LEFT JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
LEFT JOIN indexes i ON i.id = c.live_index
LEFT JOIN contents l ON l.collection_id = c.id AND l.revision = i.revision
LEFT JOIN LATERAL (SELECT * FROM jobs WHERE collection_id = c.id ORDER BY id DESC LIMIT 1) j ON true
WHERE c.id = $1 AND c.deleting_at IS NULL
"""  # noqa: S608 (constants)

MARK_DELETING = "UPDATE collections SET deleting_at = now() WHERE id = $1 AND deleting_at IS NULL RETURNING name"

CANCEL_JOBS = """
UPDATE jobs SET state = 'cancelled', token = token + 1, finished_at = now()
WHERE collection_id = $1 AND state IN ('queued', 'running')
"""

CANCEL_READINGS = CANCEL_JOBS.replace("jobs", "source_readings", 1)

# The tables of a collection that can have millions of rows.
LARGE_TABLES = ("images", "image_versions", "image_miniatures", "source_images", "source_records")


@dataclass(frozen=True)
class NewestJob:
    """The newest finetune of a collection.

    phase_done, phase_total: numbers of images. seconds_left: an estimate. All three are None while unknown. paced_by:
    the hosts that set its pace, as a JSON list; None: there are none. warnings: sentences for people.
    """

    id: int
    state: str
    phase: str
    progress: float
    phase_done: int | None
    phase_total: int | None
    seconds_left: float | None
    paced_by: str | None
    warnings: Sequence[str]
    error_code: str | None
    error_message: str | None

    @property
    def active(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in ("queued", "running")


@dataclass(frozen=True)
class Collection:
    """A collection as its clients see it.

    source_type: of its source; None if it has none. live_is_newest: the content that search serves has
    the same bytes as the newest content, and its index still has its vectors and is not provisional. live_images: the
    number of images that search finds.
    """

    id: int
    name: str
    heidicon_tag: str | None
    source_type: str | None
    content_revision: int
    row_count: int
    last_modified: datetime
    last_finetuned: datetime | None
    live_is_newest: bool
    live_backbone: str | None
    live_quality: str | None
    live_images: int
    job: NewestJob | None

    def requires_finetuning(self, backbone: str | None) -> bool:
        """Return whether search lacks the newest content, the current backbone, a learned adapter, or its vectors.

        backbone: the checksum of the backbone that the embedder serves. None: unknown, and assumed unchanged.
        """
        return not self.live_is_newest or (backbone is not None and backbone != self.live_backbone)


class Collections:
    """The collections in the database. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def names(self) -> list[tuple[int, str]]:
        """List the id and name of each collection, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT id, name FROM collections WHERE deleting_at IS NULL ORDER BY id")
        return [(row["id"], row["name"]) for row in rows]

    async def get(self, collection_id: int) -> Collection:
        """Return a collection. Raises InvalidRequest, collection_not_found."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SELECT, collection_id)
        if row is None:
            raise not_found(collection_id)
        return _collection(row)

    async def create(self, name: str) -> int:
        """Create an empty collection and return its id. Ids are never reused."""
        async with self._database.connection() as connection:
            return await insert(connection, name, None)

    async def rename(self, collection_id: int, name: str) -> None:
        """Rename a collection. Raises InvalidRequest, collection_not_found."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "UPDATE collections SET name = $2 WHERE id = $1 AND deleting_at IS NULL RETURNING id",
                collection_id,
                name,
            )
        if found is None:
            raise not_found(collection_id)

    async def mark_deleting(self, collection_id: int) -> str:
        """Hide a collection, cancel its active job, and return its name.

        The trainer's janitor removes the data later. Raises InvalidRequest, collection_not_found.
        """
        async with self._database.transaction() as connection:
            name: str | None = await connection.fetchval(MARK_DELETING, collection_id)
            if name is None:
                raise not_found(collection_id)
            # A separate statement, so that it sees a job that was queued while the first one waited.
            await connection.execute(CANCEL_JOBS, collection_id)
            await connection.execute(CANCEL_READINGS, collection_id)
            await notify(connection)
        return name

    async def deleting(self) -> list[int]:
        """List the collections that are marked for deletion and not yet removed."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT id FROM collections WHERE deleting_at IS NOT NULL ORDER BY id")
        return [row["id"] for row in rows]

    async def remove(self, collection_id: int, *, batch: int = 20_000) -> None:
        """Remove a marked collection and all its rows. Large tables go in batches, to keep transactions short."""
        for table in LARGE_TABLES:
            delete = f"""
            DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE collection_id = $1 LIMIT $2))
            """  # noqa: S608 (the table is a constant)
            status = ""
            while status != "DELETE 0":
                async with self._database.connection() as connection:
                    status = await connection.execute(delete, collection_id, batch)
            FaultPoint.ROWS_REMOVED.reach()
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM collections WHERE id = $1 AND deleting_at IS NOT NULL", collection_id)


def not_found(collection_id: int | str) -> InvalidRequest:
    """Return the error for an unknown collection id. The contract makes it a 400, because clients rely on that."""
    return InvalidRequest(f"There is no collection {collection_id}.", code="collection_not_found")


async def insert(connection: Connection, name: str, heidicon_tag: str | None) -> int:
    """Insert a collection and return its id."""
    identifier: int = await connection.fetchval(
        "INSERT INTO collections (name, heidicon_tag) VALUES ($1, $2) RETURNING id", name, heidicon_tag
    )
    return identifier


async def lock(connection: Connection, collection_id: int) -> int:
    """Lock a collection until the transaction ends, and return the revision of its content.

    To change both a collection and its job, lock the collection first. The lock lets other transactions add rows that
    refer to the collection, so a finetune does not wait for an upload. Raises InvalidRequest, collection_not_found.
    """
    revision: int | None = await connection.fetchval(
        "SELECT content_revision FROM collections WHERE id = $1 AND deleting_at IS NULL FOR NO KEY UPDATE",
        collection_id,
    )
    if revision is None:
        raise not_found(collection_id)
    return revision


def _collection(row: asyncpg.Record) -> Collection:
    job = None
    if row["job_id"] is not None:
        job = NewestJob(
            id=row["job_id"],
            state=row["job_state"],
            phase=row["job_phase"],
            progress=row["job_progress"],
            phase_done=row["phase_done"],
            phase_total=row["phase_total"],
            seconds_left=row["seconds_left"],
            paced_by=row["paced_by"],
            warnings=row["warnings"],
            error_code=row["error_code"],
            error_message=row["error_message"],
        )
    return Collection(
        id=row["id"],
        name=row["name"],
        heidicon_tag=row["heidicon_tag"],
        source_type=row["source_type"],
        content_revision=row["content_revision"],
        row_count=row["row_count"],
        last_modified=row["last_modified"],
        last_finetuned=row["last_finetuned"],
        live_is_newest=row["live_is_newest"],
        live_backbone=row["live_backbone"],
        live_quality=row["live_quality"],
        live_images=row["live_images"],
        job=job,
    )
