"""The worker: claims jobs one at a time, runs each under its lease, and records how it ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from structlog.contextvars import bound_contextvars

from catalog.postgres.leased_queue import MAX_ATTEMPTS, JobT, LeasedJob, LeasedQueue, LeaseLost
from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.process.fault_points import FaultPoint
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.state_log import StateLog
from servicekit.telemetry.tracing import root_span, without_databases
from trainer.jobs.lease import CancelRequested, JobProgress, Lease
from trainer.jobs.places import Place, Places
from trainer.jobs.retry import TRANSIENT, Retry
from trainer.metrics import JobMetrics

log = get_logger(__name__)

# How long the worker tries to record the end of a job, and to give one back. After that the lease expires.
RECORD_SECONDS = 30.0
RELEASE_SECONDS = 5.0
INTERNAL_ERROR = "An unexpected error occurred. Ask the operator to check the trainer's log."


class Outcome(Enum):
    """How a job left this worker. The values are labels of a metric."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    # Given back to the queue, since this process stops.
    RELEASED = "released"
    # Another worker may have the job, or its collection is gone.
    LEASE_LOST = "lost"
    # Its end could not be recorded, so another worker takes it when the lease expires.
    ABANDONED = "abandoned"


class TooManyAttempts(ServiceError):
    """The job keeps ending its worker's process."""

    default_code = "too_many_attempts"


@dataclass(frozen=True)
class JobKind:
    """What messages, log events and traces say about a kind of job.

    failed: a sentence about a job that failed. retry_later: advice for one whose reason may pass.
    """

    name: str
    failed: str
    retry_later: str


WorkedT = TypeVar("WorkedT", bound=LeasedJob, contravariant=True)
ProgressT = TypeVar("ProgressT", bound=JobProgress)


class Work(Protocol[WorkedT, ProgressT]):
    """The work of one kind of job."""

    def progress_of(self, job: WorkedT) -> ProgressT:
        """Return the progress of an attempt that begins."""
        ...

    async def run(self, job: WorkedT, progress: ProgressT, place: Place) -> None:
        """Do the job, and record its success. place: may be lent while the job waits."""
        ...


class Worker(Generic[JobT, ProgressT]):
    """Runs one job at a time. It claims one when it has a place."""

    def __init__(
        self,
        name: str,
        jobs: LeasedQueue[JobT],
        work: Work[JobT, ProgressT],
        metrics: JobMetrics,
        kind: JobKind,
        places: Places,
        *,
        poll: float,
        lease: float,
    ) -> None:
        """poll: seconds between looks at the queue. lease: seconds of the leases that `jobs` grants."""
        self._name = name
        self._jobs = jobs
        self._retried_jobs = Retry(RECORD_SECONDS).wrap(jobs)
        self._claims = StateLog(log, "claim_failed", "claims_again", worker=name)
        self._work = work
        self._metrics = metrics
        self._kind = kind
        self._places = places
        self._poll_seconds = poll
        self._lease_seconds = lease
        self._nudged = asyncio.Event()
        self._lease: Lease[JobT] | None = None

    def nudge(self) -> None:
        """Look for a job now, and find out whether the running one was cancelled."""
        self._nudged.set()
        if self._lease is not None:
            self._lease.renew_now()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while entered. On exit, a running job goes back to the queue."""
        async with in_background(self._run(), self._name):
            yield

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            async with self._places.place() as place:
                job = await self._claim()
                if job is not None:
                    await self._run_job(job, place)
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._nudged.wait()

    async def _claim(self) -> JobT | None:
        claim = asyncio.create_task(self._jobs.claim(self._name))
        try:
            job = await asyncio.shield(claim)
        except asyncio.CancelledError:
            # Postgres may grant the job although nobody waits for it any more.
            await self._give_back(claim)
            raise
        except Exception as error:
            # The worker must survive: the next claim may succeed.
            self._claims.failure(error)
            return None
        self._claims.success()
        return job

    async def _give_back(self, claim: "asyncio.Task[JobT | None]") -> None:
        """Release the job of a claim that is still under way. If that takes too long, its lease expires."""
        with suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                job = await claim
                if job is not None:
                    await self._release(job)

    async def _run_job(self, job: JobT, place: Place) -> None:
        """Run a job in a trace of its own, with metrics and log events around it."""
        attributes = {"similis.job": job.id, "similis.collection": job.collection_id, "similis.attempt": job.attempts}
        with (
            bound_contextvars(job=job.id, collection=job.collection_id, token=job.token, **job.log_fields),
            root_span(self._kind.name, attributes) as span,
            without_databases(),
        ):
            log.info("job_claimed", attempt=job.attempts)
            FaultPoint.CLAIMED.reach()
            self._metrics.running.inc()
            outcome = Outcome.RELEASED
            try:
                outcome = await self._execute(job, place)
            except asyncio.CancelledError:
                await self._release(job)
                raise
            finally:
                self._metrics.running.dec()
                self._metrics.outcomes.labels(outcome.value).inc()
                span.set_attribute("similis.outcome", outcome.value)
                log.info("attempt_ended", outcome=outcome.value)

    async def _execute(self, job: JobT, place: Place) -> Outcome:
        """Run a job to its end and record that end in the database."""
        try:
            await self._run_leased(job, place)
        except LeaseLost as error:
            log.warning("lease_lost", reason=error.message)
            return Outcome.LEASE_LOST
        except CancelRequested:
            return await self._record(Outcome.CANCELLED, self._retried_jobs.mark_cancelled(job))
        except ServiceError as error:
            advice = f" {self._kind.retry_later}" if isinstance(error, TRANSIENT) else ""
            return await self._fail(job, error.code, f"{error.message}{advice}")
        except Exception as error:
            log.error(f"{self._kind.name}_failed", exc_info=error)
            return await self._fail(job, "internal", INTERNAL_ERROR)
        return Outcome.DONE

    async def _run_leased(self, job: JobT, place: Place) -> None:
        if job.attempts > MAX_ATTEMPTS:
            raise TooManyAttempts(
                f"It was started {MAX_ATTEMPTS} times without making progress. Ask the operator to check the trainer's "
                "log and memory."
            )
        progress = self._work.progress_of(job)
        self._lease = Lease(self._jobs, job, progress, lease_seconds=self._lease_seconds)
        try:
            await self._lease.hold(self._work.run(job, progress, place))
        finally:
            self._lease = None

    async def _fail(self, job: JobT, code: str, reason: str) -> Outcome:
        log.warning("job_failed", code=code, reason=reason)
        return await self._record(Outcome.FAILED, self._retried_jobs.fail(job, code, f"{self._kind.failed} {reason}"))

    async def _record(self, outcome: Outcome, recording: Awaitable[None]) -> Outcome:
        """Return `outcome` once it is recorded, or what became of the job instead."""
        try:
            await recording
        except LeaseLost as error:
            log.warning("lease_lost", reason=error.message)
            return Outcome.LEASE_LOST
        except Exception as error:
            log.error("job_abandoned", exc_info=error)
            return Outcome.ABANDONED
        return outcome

    async def _release(self, job: JobT) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._jobs.release(job)
        except (ServiceError, TimeoutError) as error:
            log.warning("release_failed", reason=str(error) or type(error).__name__)
