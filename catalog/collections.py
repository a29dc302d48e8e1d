"""Collections: what a client names, fills, finetunes and searches."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from catalog.postgres.database import Connection, Database
from catalog.postgres.notifications import notify
from servicekit.errors import InvalidRequest

SELECT = """
SELECT c.id, c.name, c.heidicon_tag, c.content_revision, c.last_modified, c.last_finetuned,
       coalesce(t.row_count, 0) AS row_count,
       i.backbone AS live_backbone, i.quality AS live_quality,
       coalesce(l.digest = t.digest, false) AS live_is_newest,
       j.id AS job_id, j.state AS job_state, j.phase AS job_phase, j.progress AS job_progress,
       j.phase_done, j.phase_total, j.seconds_left,
       j.error_code, j.error_message
FROM collections c
LEFT JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
LEFT JOIN indexes i ON i.id = c.live_index
LEFT JOIN contents l ON l.collection_id = c.id AND l.revision = i.revision
LEFT JOIN LATERAL (SELECT * FROM jobs WHERE collection_id = c.id ORDER BY id DESC LIMIT 1) j ON true
WHERE c.id = $1 AND c.deleting_at IS NULL
"""

MARK_DELETING = "UPDATE collections SET deleting_at = now() WHERE id = $1 AND deleting_at IS NULL RETURNING id"

TAKE_JOBS = """
UPDATE jobs SET state = 'cancelled', token = token + 1, finished_at = now()
WHERE collection_id = $1 AND state IN ('queued', 'running')
"""


@dataclass(frozen=True)
class NewestJob:
    """The newest finetune of a collection.

    phase_done, phase_total: images. seconds_left: until it ends, as it looks. None where that is not known.
    """

    id: int
    state: str
    phase: str
    progress: float
    phase_done: int | None
    phase_total: int | None
    seconds_left: float | None
    error_code: str | None
    error_message: str | None

    @property
    def active(self) -> bool:
        """It waits or runs."""
        return self.state in ("queued", "running")


@dataclass(frozen=True)
class Collection:
    """A collection as its clients see it.

    live_is_newest: the content that search serves has the same bytes as the newest content.
    """

    id: int
    name: str
    heidicon_tag: str | None
    content_revision: int
    row_count: int
    last_modified: datetime
    last_finetuned: datetime | None
    live_is_newest: bool
    live_backbone: str | None
    live_quality: str | None
    job: NewestJob | None

    def requires_finetuning(self, backbone: str | None) -> bool:
        """Whether search serves something else than the newest content through `backbone`.

        backbone: the checksum that is served now; None where it is not known, and then it is taken to be the same.
        """
        return not self.live_is_newest or (backbone is not None and backbone != self.live_backbone)


class Collections:
    """The collections of the database. Every method raises what `Database.connection` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def names(self) -> list[tuple[int, str]]:
        """Id and name of each collection, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT id, name FROM collections WHERE deleting_at IS NULL ORDER BY id")
        return [(row["id"], row["name"]) for row in rows]

    async def get(self, collection_id: int) -> Collection:
        """One collection. Raises InvalidRequest, collection_not_found."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SELECT, collection_id)
        if row is None:
            raise not_found(collection_id)
        return _collection(row)

    async def create(self, name: str) -> int:
        """Makes an empty collection and gives its id, which was never used before."""
        async with self._database.connection() as connection:
            return await insert(connection, name, None)

    async def rename(self, collection_id: int, name: str) -> None:
        """Raises InvalidRequest, collection_not_found."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "UPDATE collections SET name = $2 WHERE id = $1 AND deleting_at IS NULL RETURNING id",
                collection_id,
                name,
            )
        if found is None:
            raise not_found(collection_id)

    async def mark_deleting(self, collection_id: int) -> None:
        """Takes the collection out of sight, and the token from the job that may be running for it.

        What it holds is removed by the trainer's janitor. Raises InvalidRequest, collection_not_found.
        """
        async with self._database.transaction() as connection:
            if await connection.fetchval(MARK_DELETING, collection_id) is None:
                raise not_found(collection_id)
            # A statement of its own: it sees the job of whoever held the collection until now.
            await connection.execute(TAKE_JOBS, collection_id)
            await notify(connection)

    async def deleting(self) -> list[int]:
        """The collections that are marked and not yet gone."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT id FROM collections WHERE deleting_at IS NOT NULL ORDER BY id")
        return [row["id"] for row in rows]

    async def remove(self, collection_id: int, *, batch: int = 20_000) -> None:
        """Removes a marked collection and all its rows, the many images in batches so that nobody waits long."""
        for table in ("images", "image_versions"):
            delete = f"""
            DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE collection_id = $1 LIMIT $2))
            """  # noqa: S608 (one of two)
            status = ""
            while status != "DELETE 0":
                async with self._database.connection() as connection:
                    status = await connection.execute(delete, collection_id, batch)
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM collections WHERE id = $1 AND deleting_at IS NOT NULL", collection_id)


def not_found(collection_id: int | str) -> InvalidRequest:
    """The contract's answer for an id that names no collection (400: clients rely on it)."""
    return InvalidRequest(f"There is no collection {collection_id}.", code="collection_not_found")


async def insert(connection: Connection, name: str, heidicon_tag: str | None) -> int:
    """Adds a collection on a connection that may be inside of a transaction; gives its id."""
    identifier: int = await connection.fetchval(
        "INSERT INTO collections (name, heidicon_tag) VALUES ($1, $2) RETURNING id", name, heidicon_tag
    )
    return identifier


async def lock(connection: Connection, collection_id: int) -> int:
    """Holds the collection against other changes until the transaction ends; gives its content's revision.

    Whoever changes a collection and its job locks the collection first. Rows that only refer to the collection can
    be added meanwhile: a finetune does not wait for an upload. Raises InvalidRequest, collection_not_found.
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
            error_code=row["error_code"],
            error_message=row["error_message"],
        )
    return Collection(
        id=row["id"],
        name=row["name"],
        heidicon_tag=row["heidicon_tag"],
        content_revision=row["content_revision"],
        row_count=row["row_count"],
        last_modified=row["last_modified"],
        last_finetuned=row["last_finetuned"],
        live_is_newest=row["live_is_newest"],
        live_backbone=row["live_backbone"],
        live_quality=row["live_quality"],
        job=job,
    )
