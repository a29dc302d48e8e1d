"""Finetune jobs: a queue in Postgres with leases. Fencing tokens stop a worker that has lost its lease."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from catalog import collections
from catalog.postgres.database import Connection
from catalog.postgres.leased_queue import (
    MAX_ATTEMPTS,
    JobState,
    LeasedQueue,
    LeaseLost,
    PacingHost,
    PhaseCounts,
    lease_lost,
)
from catalog.postgres.notifications import notify
from servicekit.errors import InvalidRequest

__all__ = ["MAX_ATTEMPTS", "Job", "JobState", "Jobs", "LeaseLost", "PacingHost", "PhaseCounts", "lease_lost"]

ACTIVE = "SELECT * FROM jobs WHERE collection_id = $1 AND state IN ('queued', 'running')"

ROW_COUNT = "SELECT row_count FROM contents WHERE collection_id = $1 AND revision = $2"

INSERT = "INSERT INTO jobs (collection_id, revision, force, refresh) VALUES ($1, $2, $3, $4) RETURNING *"

# Compares bytes, not revisions: a content that is uploaded again has a new revision but nothing new to learn. An index
# without its vectors serves no content. After a provisional one, the adapter has yet to be learned.
LIVE = f"""
SELECT i.backbone, l.digest = t.digest AND i.lost_at IS NULL AND NOT {collections.PROVISIONAL} AS is_newest
FROM collections c
JOIN indexes i ON i.id = c.live_index
JOIN contents l ON l.collection_id = c.id AND l.revision = i.revision
JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
WHERE c.id = $1
"""  # noqa: S608 (constants)

# One statement checks that the job is still ours, makes the index live, supersedes the previous one and ends the job.
# clock_timestamp(), because now() is the start of the transaction, which may have waited for an upload since: the
# previous index gets its whole grace period.
PUBLISH = """
WITH job AS ({job}), published AS (
    UPDATE indexes i SET published_at = clock_timestamp(), image_count = $4 FROM job
    WHERE i.id = $3 AND i.job_id = job.id AND i.token = job.token
    RETURNING i.id, i.collection_id
), superseded AS (
    UPDATE indexes i SET superseded_at = clock_timestamp() FROM published p, collections c
    WHERE c.id = p.collection_id AND i.id = c.live_index
), live AS (
    UPDATE collections c SET live_index = p.id, last_finetuned = clock_timestamp() FROM published p
    WHERE c.id = p.collection_id AND c.deleting_at IS NULL
    RETURNING c.id
)
SELECT count(*) FROM live
"""

END = """
UPDATE jobs SET state = 'done', phase = 'done', progress = 100, finished_at = clock_timestamp(), lease_until = NULL
WHERE id = $1 AND token = $2 AND state = 'running'
RETURNING id, collection_id, token
"""

# Locks the job's row, so that nobody takes the lease over before the index is live.
GO_ON = """
SELECT id, collection_id, token FROM jobs WHERE id = $1 AND token = $2 AND state = 'running' FOR UPDATE
"""


@dataclass(frozen=True)
class Job:
    """A finetune. progress: percent, 0 to 100, never decreasing."""

    id: int
    collection_id: int
    revision: int
    state: JobState
    phase: str
    progress: float
    force: bool
    refresh: bool
    token: int
    attempts: int
    cancel_requested: bool
    error_code: str | None
    error_message: str | None
    created_at: datetime

    @property
    def log_fields(self) -> Mapping[str, object]:
        """What log events about the job say besides its id."""
        return {"revision": self.revision}


class Jobs(LeasedQueue[Job]):
    """The queue. Every method raises as `Database.connection` does."""

    table = "jobs"

    def job(self, row: asyncpg.Record) -> Job:
        """Return the job in a row of the table."""
        return _job(row)

    async def enqueue(
        self, collection_id: int, *, backbone: str | None, force: bool, refresh: bool = False
    ) -> tuple[Job | None, bool]:
        """Queue a finetune. Returns the collection's active job and whether it is new; no job if nothing has changed.

        backbone: the checksum that the embedder serves; None if it does not respond. force: queue a job even if nothing
        has changed. refresh: fetch, embed and learn everything again. Raises InvalidRequest: collection_not_found,
        collection_empty.
        """
        async with self._database.transaction() as connection:
            revision = await collections.lock(connection, collection_id)
            active = await connection.fetchrow(ACTIVE, collection_id)
            if active is not None:
                return _job(active), False
            await _require_images(connection, collection_id, revision)
            if not (force or refresh) and await _is_up_to_date(connection, collection_id, backbone):
                return None, False
            return await insert(connection, collection_id, revision, force=force, refresh=refresh), True

    async def publish(self, job: Job, index_id: int, image_count: int) -> None:
        """Make the index live and end the job, in one statement. Raises LeaseLost."""
        await self._publish(job, PUBLISH.format(job=END), index_id, image_count)

    async def publish_provisional(self, job: Job, index_id: int, image_count: int) -> None:
        """Make a provisional index live, which search uses until the job ends. Raises LeaseLost."""
        await self._publish(job, PUBLISH.format(job=GO_ON), index_id, image_count)

    async def _publish(self, job: Job, statement: str, index_id: int, image_count: int) -> None:
        async with self._database.transaction() as connection:
            try:
                await collections.lock(connection, job.collection_id)
            except InvalidRequest:
                raise lease_lost(job) from None
            if await connection.fetchval(statement, job.id, job.token, index_id, image_count) != 1:
                raise lease_lost(job)


async def enqueue_changed(connection: Connection, collection_id: int, revision: int) -> None:
    """Queue a finetune of the newest content, unless one is active or search serves it already.

    The caller has locked the collection.
    """
    active = await connection.fetchrow(ACTIVE, collection_id)
    if active is None and not await _is_up_to_date(connection, collection_id, None):
        await insert(connection, collection_id, revision)


async def insert(
    connection: Connection, collection_id: int, revision: int, *, force: bool = False, refresh: bool = False
) -> Job:
    """Insert a job and notify the trainers. The caller has locked the collection and found no active job."""
    row = await connection.fetchrow(INSERT, collection_id, revision, force, refresh)
    assert row is not None, "an INSERT returns its row"  # noqa: S101
    await notify(connection)
    return _job(row)


async def _require_images(connection: Connection, collection_id: int, revision: int) -> None:
    if not await connection.fetchval(ROW_COUNT, collection_id, revision):
        message = "The collection has no images. Add some before finetuning."
        raise InvalidRequest(message, code="collection_empty")


async def _is_up_to_date(connection: Connection, collection_id: int, backbone: str | None) -> bool:
    live = await connection.fetchrow(LIVE, collection_id)
    return live is not None and live["is_newest"] and backbone in (None, live["backbone"])


def _job(row: asyncpg.Record) -> Job:
    return Job(
        id=row["id"],
        collection_id=row["collection_id"],
        revision=row["revision"],
        state=JobState(row["state"]),
        phase=row["phase"],
        progress=row["progress"],
        force=row["force"],
        refresh=row["refresh"],
        token=row["token"],
        attempts=row["attempts"],
        cancel_requested=row["cancel_requested"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        created_at=row["created_at"],
    )
