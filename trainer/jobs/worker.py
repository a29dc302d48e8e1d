"""The worker: claims jobs, runs each under its lease, and says how it ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from catalog.jobs import MAX_ATTEMPTS, Job, Jobs, LeaseLost
from servicekit.errors import ServiceError
from servicekit.process.background import in_background
from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.tracing import Kind, tracer, without_databases
from trainer.jobs.finetune import Finetune
from trainer.jobs.lease import CancelRequested, Lease
from trainer.jobs.progress import Progress
from trainer.jobs.retry import Patience
from trainer.metrics import TrainerMetrics

log = get_logger(__name__)

# To say how a job ended, or to give it back; what is not said in time, the lease's end says.
ENDING_SECONDS = 30.0
RELEASE_SECONDS = 5.0
INTERNAL_MESSAGE = "The finetune failed unexpectedly; the trainer's log says why."


class Worker:
    """Runs one job after the other."""

    def __init__(
        self, name: str, jobs: Jobs, finetune: Finetune, metrics: TrainerMetrics, *, poll: float, lease: float
    ) -> None:
        """poll: seconds between looks at the queue. lease: seconds that `jobs` gives."""
        self._name = name
        self._jobs = jobs
        self._finetune = finetune
        self._metrics = metrics
        self._poll_seconds = poll
        self._lease_seconds = lease
        self._nudged = asyncio.Event()
        self._lease: Lease | None = None
        self._ending = Patience(ENDING_SECONDS)

    def nudge(self) -> None:
        """Something may be waiting, or somebody may want the running job to end: look now."""
        self._nudged.set()
        if self._lease is not None:
            self._lease.beat_now()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works while entered; a job that runs on exit is given back to the queue."""
        async with in_background(self._run(), self._name):
            yield

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            job = await self._claim()
            if job is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._nudged.wait()
                continue
            with structlog.contextvars.bound_contextvars(
                job=job.id, collection=job.collection_id, revision=job.revision, token=job.token
            ):
                await self._traced(job)

    async def _claim(self) -> Job | None:
        try:
            return await self._jobs.claim(self._name)
        except ServiceError as error:
            log.warning("claim_failed", code=error.code)
        except Exception as error:
            # The loop lives: a job that cannot be claimed now may be claimed later.
            log.error("claim_failed", exc_info=error)
        return None

    async def _traced(self, job: Job) -> None:
        """Runs the job as a trace of its own."""
        attributes = {"similis.job": job.id, "similis.collection": job.collection_id, "similis.attempt": job.attempts}
        with tracer().begin("finetune", Kind.INTERNAL, attributes, None) as span, without_databases():
            span.set("similis.outcome", await self._observed(job))

    async def _observed(self, job: Job) -> str:
        """Runs the job and says how it left us."""
        log.info("job_claimed", attempt=job.attempts)
        self._metrics.running.inc()
        outcome = "released"
        try:
            outcome = await self._work(job)
        except asyncio.CancelledError:
            await self._release(job)
            raise
        except LeaseLost as error:
            outcome = "lost"
            log.warning("lease_lost", reason=error.message)
        except Exception as error:
            outcome = "abandoned"
            log.error("job_abandoned", exc_info=error)
        finally:
            self._lease = None
            self._metrics.running.dec()
            self._metrics.jobs.labels(outcome).inc()
            log.info("job_left", outcome=outcome)
        return outcome

    async def _work(self, job: Job) -> str:
        """Runs the job and says how it ended. Raises ServiceError when that could not be said in the database."""
        if job.attempts > MAX_ATTEMPTS:
            message = f"The finetune was begun {MAX_ATTEMPTS} times and never came to an end."
            return await self._fail(job, "too_many_attempts", message)
        error = await self._run_leased(job)
        if error is None:
            return "done"
        if isinstance(error, CancelRequested):
            await self._ending.persist(self._jobs.mark_cancelled, job)
            return "cancelled"
        if isinstance(error, LeaseLost):
            log.warning("lease_lost", reason=error.message)
            return "lost"
        if isinstance(error, ServiceError):
            return await self._fail(job, error.code, error.message)
        log.error("finetune_failed", exc_info=error)
        return await self._fail(job, "internal", INTERNAL_MESSAGE)

    async def _run_leased(self, job: Job) -> BaseException | None:
        """Runs the job for as long as it is ours; gives why it ended, None when its index is live.

        A cancellation that came from within is an error like any other: the job is not done, and we are not to stop.
        """
        progress = Progress(job.progress)
        self._lease = Lease(self._jobs, job, progress, lease_seconds=self._lease_seconds)
        work = asyncio.create_task(self._finetune.run(job, progress))
        keeping = asyncio.create_task(self._lease.keep())
        try:
            await asyncio.wait({work, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = work if work.done() else keeping
            for task in (work, keeping):
                task.cancel()
            await asyncio.gather(work, keeping, return_exceptions=True)
        return asyncio.CancelledError() if ended.cancelled() else ended.exception()

    async def _fail(self, job: Job, code: str, message: str) -> str:
        log.warning("job_failed", code=code, reason=message)
        await self._ending.persist(self._jobs.fail, job, code, message)
        return "failed"

    async def _release(self, job: Job) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._jobs.release(job)
        except (ServiceError, TimeoutError) as error:
            log.warning("release_failed", reason=str(error))
