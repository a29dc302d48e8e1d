"""A queue in a table: workers claim its jobs with leases. Fencing tokens stop a worker that has lost its lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from json import dumps
from typing import Generic, Protocol, TypeVar

import asyncpg

from catalog.postgres.database import Database
from catalog.postgres.notifications import notify
from servicekit.errors import NotFound, ServiceError

LEASE_SECONDS = 30.0
# A job fails after this many attempts without progress: something in it kills its workers.
MAX_ATTEMPTS = 10

CLAIM = """
UPDATE {table} SET state = 'running', token = token + 1, attempts = attempts + 1, worker = $1,
    lease_until = now() + make_interval(secs => $2), started_at = coalesce(started_at, now()), progressed_at = now()
WHERE id = (
    SELECT id FROM {table}
    WHERE state = 'queued' OR (state = 'running' AND lease_until < now())
    ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING *
"""

HEARTBEAT = """
UPDATE {table} SET lease_until = now() + make_interval(secs => $3), phase = $4, progress = greatest(progress, $5),
    phase_done = $6, phase_total = $7, seconds_left = $8, paced_by = $9,
    -- Only attempts without progress count towards the limit.
    attempts = CASE WHEN $5 >= progress + 1 THEN 1 ELSE attempts END,
    progressed_at = CASE WHEN phase <> $4 OR $5 > progress THEN now() ELSE progressed_at END
WHERE id = $1 AND token = $2 AND state = 'running'
RETURNING cancel_requested
"""

WARN = "UPDATE {table} SET warnings = $3 WHERE id = $1 AND token = $2 AND state = 'running' RETURNING id"

END = """
UPDATE {table} SET state = $3, error_code = $4, error_message = $5, finished_at = now(), lease_until = NULL
WHERE id = $1 AND token = $2 AND state = 'running' RETURNING id
"""

RELEASE = """
UPDATE {table} SET state = 'queued', lease_until = NULL, worker = NULL, attempts = greatest(attempts - 1, 0)
WHERE id = $1 AND token = $2 AND state = 'running'
"""

# A queued job ends at once, a running one when its worker notices the request.
CANCEL_ACTIVE = """
UPDATE {table} SET cancel_requested = true,
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
class PacingHost:
    """A host that sets the pace of a job. reason: `rate_limited`, `slow` or `silent`."""

    host: str
    reason: str


@dataclass(frozen=True)
class PhaseCounts:
    """The progress of a phase, in images or records. total: None if unknown.

    seconds_left: estimated time until the job ends; None if unknown.
    """

    done: int
    total: int | None
    seconds_left: float | None
    paced_by: Sequence[PacingHost] = ()


class LeaseLost(ServiceError):
    """The worker has lost its job. It must stop at once and write nothing more."""

    default_code = "lease_lost"


class LeasedJob(Protocol):
    """What every job has. progress: percent. log_fields: what log events about it say besides."""

    @property
    def id(self) -> int: ...

    @property
    def collection_id(self) -> int: ...

    @property
    def token(self) -> int: ...

    @property
    def attempts(self) -> int: ...

    @property
    def progress(self) -> float: ...

    @property
    def log_fields(self) -> Mapping[str, object]: ...


JobT = TypeVar("JobT", bound=LeasedJob)


class LeasedQueue(Generic[JobT]):
    """The queue of one kind of job. Every method raises as `Database.connection` does."""

    table: str

    def __init__(self, database: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    def job(self, row: asyncpg.Record) -> JobT:
        """Return the job in a row of the table."""
        raise NotImplementedError

    async def claim(self, worker: str) -> JobT | None:
        """Lease the oldest waiting job to a worker: queued, or with an expired lease. Returns None if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._sql(CLAIM), worker, self._lease_seconds)
        return None if row is None else self.job(row)

    async def heartbeat(self, job: JobT, phase: str, progress: float, counts: PhaseCounts | None = None) -> bool:
        """Renew the lease, record progress, and return whether a cancel was requested. Raises LeaseLost."""
        phase_counts = (None,) * 4 if counts is None else _columns(counts)
        async with self._database.connection() as connection:
            cancel: bool | None = await connection.fetchval(
                self._sql(HEARTBEAT), job.id, job.token, self._lease_seconds, phase, progress, *phase_counts
            )
        if cancel is None:
            raise lease_lost(job)
        return cancel

    async def warn(self, job: JobT, warnings: Sequence[str]) -> None:
        """Record what users should know about the job. Replaces earlier warnings. Raises LeaseLost."""
        async with self._database.connection() as connection:
            if await connection.fetchval(self._sql(WARN), job.id, job.token, warnings) is None:
                raise lease_lost(job)

    async def fail(self, job: JobT, code: str, message: str) -> None:
        """End the job as failed. What it was to replace stays. Raises LeaseLost."""
        await self._end(job, JobState.FAILED, code, message)

    async def mark_cancelled(self, job: JobT) -> None:
        """End the job as cancelled. Raises LeaseLost."""
        await self._end(job, JobState.CANCELLED, None, None)

    async def release(self, job: JobT) -> None:
        """Return the job to the queue, so that another worker continues it without waiting for the lease."""
        async with self._database.connection() as connection:
            await connection.execute(self._sql(RELEASE), job.id, job.token)
            await notify(connection)

    async def cancel_active(self, collection_id: int) -> JobT | None:
        """Cancel a collection's active job and notify its worker. Returns the job, or None if none is active.

        A queued job is cancelled at once. A running one only gets `cancel_requested`, which its worker reads at the
        next heartbeat.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._sql(CANCEL_ACTIVE), collection_id)
            await notify(connection)
        return None if row is None else self.job(row)

    async def get(self, job_id: int) -> JobT:
        """Return a job. Raises NotFound, job_not_found."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._sql("SELECT * FROM {table} WHERE id = $1"), job_id)
        if row is None:
            raise NotFound(f"There is no job {job_id}.", code="job_not_found")
        return self.job(row)

    async def _end(self, job: JobT, state: JobState, code: str | None, message: str | None) -> None:
        async with self._database.connection() as connection:
            if await connection.fetchval(self._sql(END), job.id, job.token, state.value, code, message) is None:
                raise lease_lost(job)

    def _sql(self, statement: str) -> str:
        return statement.format(table=self.table)


def lease_lost(job: LeasedJob) -> LeaseLost:
    """Return the error for a job that another worker has now, or that has ended."""
    return LeaseLost(f"Job {job.id} is no longer leased to this worker.")


def _columns(counts: PhaseCounts) -> tuple[object, ...]:
    hosts = [{"host": each.host, "reason": each.reason} for each in counts.paced_by]
    return counts.done, counts.total, counts.seconds_left, dumps(hosts) if hosts else None
