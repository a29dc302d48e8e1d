"""Finetune jobs: a queue in Postgres with leases. Fencing tokens stop a worker that has lost its lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from json import dumps

import asyncpg

from catalog import collections
from catalog.postgres.database import Connection, Database
from catalog.postgres.notifications import notify
from servicekit.errors import InvalidRequest, NotFound, ServiceError

LEASE_SECONDS = 30.0
# A job fails after this many attempts without progress: something in it kills its workers.
MAX_ATTEMPTS = 10

ACTIVE = "SELECT * FROM jobs WHERE collection_id = $1 AND state IN ('queued', 'running')"

ROW_COUNT = "SELECT row_count FROM contents WHERE collection_id = $1 AND revision = $2"

INSERT = "INSERT INTO jobs (collection_id, revision, force, refresh) VALUES ($1, $2, $3, $4) RETURNING *"

CLAIM = """
UPDATE jobs SET state = 'running', token = token + 1, attempts = attempts + 1, worker = $1,
    lease_until = now() + make_interval(secs => $2), started_at = coalesce(started_at, now()), progressed_at = now()
WHERE id = (
    SELECT id FROM jobs
    WHERE state = 'queued' OR (state = 'running' AND lease_until < now())
    ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING *
"""

HEARTBEAT = """
UPDATE jobs SET lease_until = now() + make_interval(secs => $3), phase = $4, progress = greatest(progress, $5),
    phase_done = $6, phase_total = $7, seconds_left = $8, paced_by = $9,
    -- Only attempts without progress count towards the limit.
    attempts = CASE WHEN $5 >= progress + 1 THEN 1 ELSE attempts END,
    progressed_at = CASE WHEN phase <> $4 OR $5 > progress THEN now() ELSE progressed_at END
WHERE id = $1 AND token = $2 AND state = 'running'
RETURNING cancel_requested
"""

# Compares bytes, not revisions: a content that is uploaded again has a new revision but nothing new to learn. An index
# without its vectors serves no content.
LIVE = """
SELECT i.backbone, l.digest = t.digest AND i.lost_at IS NULL AS is_newest
FROM collections c
JOIN indexes i ON i.id = c.live_index
JOIN contents l ON l.collection_id = c.id AND l.revision = i.revision
JOIN contents t ON t.collection_id = c.id AND t.revision = c.content_revision
WHERE c.id = $1
"""

# One statement checks that the job is still ours, makes the index live, supersedes the previous one and ends the job.
# clock_timestamp(), because now() is the start of the transaction, which may have waited for an upload since: the
# previous index gets its whole grace period.
PUBLISH = """
WITH job AS (
    UPDATE jobs SET state = 'done', phase = 'done', progress = 100, finished_at = clock_timestamp(), lease_until = NULL
    WHERE id = $1 AND token = $2 AND state = 'running'
    RETURNING id, collection_id, token
), published AS (
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

WARN = "UPDATE jobs SET warnings = $3 WHERE id = $1 AND token = $2 AND state = 'running' RETURNING id"

END = """
UPDATE jobs SET state = $3, error_code = $4, error_message = $5, finished_at = now(), lease_until = NULL
WHERE id = $1 AND token = $2 AND state = 'running' RETURNING id
"""

RELEASE = """
UPDATE jobs SET state = 'queued', lease_until = NULL, worker = NULL, attempts = greatest(attempts - 1, 0)
WHERE id = $1 AND token = $2 AND state = 'running'
"""

# A queued job ends at once, a running one when its worker notices the request.
CANCEL_ACTIVE = """
UPDATE jobs SET cancel_requested = true,
    state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
    finished_at = CASE WHEN state = 'queued' THEN now() ELSE finished_at END
WHERE collection_id = $1 AND state IN ('queued', 'running')
RETURNING *
"""


class JobState(Enum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the job is done, failed or cancelled, and will not change any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


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


@dataclass(frozen=True)
class PacingHost:
    """A host of images that sets the pace of a job. reason: `rate_limited`, `slow` or `silent`."""

    host: str
    reason: str


@dataclass(frozen=True)
class PhaseCounts:
    """The progress of a phase in images. seconds_left: estimated time until the job ends; None if unknown."""

    done: int
    total: int
    seconds_left: float | None
    paced_by: Sequence[PacingHost] = ()


class LeaseLost(ServiceError):
    """The worker has lost its job. It must stop at once and write nothing more."""

    default_code = "lease_lost"


class Jobs:
    """The queue. Every method raises as `Database.connection` does."""

    def __init__(self, database: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

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
            row = await connection.fetchrow(INSERT, collection_id, revision, force, refresh)
            assert row is not None, "an INSERT returns its row"  # noqa: S101
            await notify(connection)
            return _job(row), True

    async def claim(self, worker: str) -> Job | None:
        """Lease the oldest waiting job to a worker: queued, or with an expired lease. Returns None if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(CLAIM, worker, self._lease_seconds)
        return None if row is None else _job(row)

    async def heartbeat(self, job: Job, phase: str, progress: float, counts: PhaseCounts | None = None) -> bool:
        """Renew the lease, record progress, and return whether a cancel was requested. Raises LeaseLost."""
        phase_counts = (None,) * 4 if counts is None else _columns(counts)
        async with self._database.connection() as connection:
            cancel: bool | None = await connection.fetchval(
                HEARTBEAT, job.id, job.token, self._lease_seconds, phase, progress, *phase_counts
            )
        if cancel is None:
            raise lease_lost(job)
        return cancel

    async def publish(self, job: Job, index_id: int, image_count: int) -> None:
        """Make the index live and end the job, in one statement. Raises LeaseLost."""
        async with self._database.transaction() as connection:
            try:
                await collections.lock(connection, job.collection_id)
            except InvalidRequest:
                raise lease_lost(job) from None
            if await connection.fetchval(PUBLISH, job.id, job.token, index_id, image_count) != 1:
                raise lease_lost(job)

    async def warn(self, job: Job, warnings: Sequence[str]) -> None:
        """Record what users should know about the job. Replaces earlier warnings. Raises LeaseLost."""
        async with self._database.connection() as connection:
            if await connection.fetchval(WARN, job.id, job.token, warnings) is None:
                raise lease_lost(job)

    async def fail(self, job: Job, code: str, message: str) -> None:
        """End the job as failed. The live index stays. Raises LeaseLost."""
        await self._end(job, JobState.FAILED, code, message)

    async def mark_cancelled(self, job: Job) -> None:
        """End the job as cancelled. Raises LeaseLost."""
        await self._end(job, JobState.CANCELLED, None, None)

    async def release(self, job: Job) -> None:
        """Return the job to the queue, so that another worker continues it without waiting for the lease."""
        async with self._database.connection() as connection:
            await connection.execute(RELEASE, job.id, job.token)
            await notify(connection)

    async def cancel_active(self, collection_id: int) -> Job | None:
        """Cancel a collection's active job and notify its worker. Returns the job, or None if none is active.

        A queued job is cancelled at once. A running one only gets `cancel_requested`, which its worker reads at the
        next heartbeat.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(CANCEL_ACTIVE, collection_id)
            await notify(connection)
        return None if row is None else _job(row)

    async def get(self, job_id: int) -> Job:
        """Return a job. Raises NotFound, job_not_found."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM jobs WHERE id = $1", job_id)
        if row is None:
            raise NotFound(f"There is no job {job_id}.", code="job_not_found")
        return _job(row)

    async def _end(self, job: Job, state: JobState, code: str | None, message: str | None) -> None:
        async with self._database.connection() as connection:
            if await connection.fetchval(END, job.id, job.token, state.value, code, message) is None:
                raise lease_lost(job)


def lease_lost(job: Job) -> LeaseLost:
    """Return the error for a job that another worker has now, or that has ended."""
    return LeaseLost(f"Job {job.id} is no longer leased to this worker.")


def _columns(counts: PhaseCounts) -> tuple[object, ...]:
    hosts = [{"host": each.host, "reason": each.reason} for each in counts.paced_by]
    return counts.done, counts.total, counts.seconds_left, dumps(hosts) if hosts else None


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
