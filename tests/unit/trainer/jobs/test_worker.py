"""The worker: what it records about the end of a job, and what it counts."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from catalog.jobs import MAX_ATTEMPTS, Job, Jobs, LeaseLost
from servicekit.errors import NoSpace, Unavailable
from tests.unit.trainer.jobs.fake_queue import JOB, FakeQueue
from trainer.jobs.finetune import KIND, Finetune
from trainer.jobs.places import Place, Places
from trainer.jobs.progress import Progress
from trainer.jobs.worker import Outcome, Worker
from trainer.metrics import TrainerMetrics


class FakeFinetune:
    """Stands in for `Finetune` and runs any coroutine."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work

    def progress_of(self, job: Job) -> Progress:
        return Progress(job.progress)

    async def run(self, job: Job, progress: Progress, place: Place) -> None:  # noqa: ARG002
        await self._work()


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        raise error

    return work


async def forever() -> None:
    await asyncio.Event().wait()


def worker(queue: FakeQueue, work: Callable[[], Awaitable[None]]) -> tuple[Worker[Job, Progress], TrainerMetrics]:
    metrics = TrainerMetrics(CollectorRegistry())
    finetune = cast("Finetune", FakeFinetune(work))
    return Worker(
        "worker", cast("Jobs", queue), finetune, metrics.finetunes, KIND, Places(1), poll=60.0, lease=0.3
    ), metrics


def counted(metrics: TrainerMetrics) -> dict[str, float]:
    """Return the number of jobs by outcome, as the metrics say."""
    values = {
        outcome.value: metrics.registry.get_sample_value("similis_trainer_jobs_total", {"outcome": outcome.value})
        for outcome in Outcome
    }
    return {outcome: value for outcome, value in values.items() if value}


async def outcome_of(queue: FakeQueue, work: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Let a worker run the queue's job, and return what it counted."""
    subject, metrics = worker(queue, work)
    async with asyncio.timeout(20), subject.running():
        await queue.idle.wait()
    return counted(metrics)


async def test_a_finetune_that_returns_is_done() -> None:
    queue = FakeQueue()
    assert await outcome_of(queue, lambda: asyncio.sleep(0)) == {"done": 1}
    assert queue.ends == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NoSpace("The disk is full."), "no_space", "The finetune failed. The disk is full."),
        (Unavailable("Qdrant is away.", code="qdrant_unavailable"), "qdrant_unavailable", "Start it again later."),
        (ValueError("secret"), "internal", "Ask the operator to check the trainer's log"),
        (asyncio.CancelledError(), "internal", "Ask the operator to check the trainer's log"),
    ],
)
async def test_an_error_fails_the_job_with_its_code_and_advice(error: BaseException, code: str, words: str) -> None:
    queue = FakeQueue()
    assert await outcome_of(queue, raising(error)) == {"failed": 1}
    ((state, recorded, message),) = queue.ends
    assert (state, recorded) == ("failed", code)
    assert words in message
    assert "secret" not in message


async def test_a_job_that_was_started_too_often_fails_without_another_attempt() -> None:
    queue = FakeQueue(job=dataclasses.replace(JOB, attempts=MAX_ATTEMPTS + 1))
    assert await outcome_of(queue, forever) == {"failed": 1}
    assert queue.ends[0][1] == "too_many_attempts"


async def test_a_cancelled_job_is_recorded_as_cancelled() -> None:
    queue = FakeQueue(beats=[True])
    assert await outcome_of(queue, forever) == {"cancelled": 1}
    assert queue.ends == [("cancelled",)]


async def test_a_worker_without_the_lease_records_nothing() -> None:
    queue = FakeQueue(beats=[LeaseLost("lost")])
    assert await outcome_of(queue, forever) == {"lost": 1}
    assert queue.ends == []


@pytest.mark.parametrize(
    ("error", "outcome"), [(LeaseLost("lost"), "lost"), (NoSpace("full"), "abandoned"), (ValueError("x"), "abandoned")]
)
async def test_a_worker_survives_when_it_cannot_record_the_end(error: Exception, outcome: str) -> None:
    queue = FakeQueue(recording_fails=error)
    assert await outcome_of(queue, raising(NoSpace("The disk is full."))) == {outcome: 1}


async def test_a_worker_that_stops_releases_its_job() -> None:
    queue, started = FakeQueue(), asyncio.Event()

    async def work() -> None:
        started.set()
        await forever()

    subject, metrics = worker(queue, work)
    async with asyncio.timeout(20):
        async with subject.running():
            await started.wait()
        assert queue.ends == [("released",)]
    assert counted(metrics) == {"released": 1}


async def test_a_worker_that_stops_while_it_claims_a_job_releases_it() -> None:
    claiming, granted = asyncio.Event(), asyncio.Event()

    class SlowQueue(FakeQueue):
        async def claim(self, worker: str) -> Job | None:
            claiming.set()
            await granted.wait()
            return await super().claim(worker)

    queue = SlowQueue()
    subject, _ = worker(queue, forever)
    async with asyncio.timeout(20):
        async with subject.running():
            await claiming.wait()
            asyncio.get_running_loop().call_later(0.05, granted.set)
        assert queue.job is None
        assert queue.ends == [("released",)]


async def test_a_nudge_notices_a_cancelled_job_before_the_next_heartbeat_is_due() -> None:
    queue, started = FakeQueue(), asyncio.Event()

    async def work() -> None:
        started.set()
        await forever()

    metrics = TrainerMetrics(CollectorRegistry())
    finetune = cast("Finetune", FakeFinetune(work))
    subject = Worker(
        "worker", cast("Jobs", queue), finetune, metrics.finetunes, KIND, Places(1), poll=60.0, lease=3600.0
    )
    async with asyncio.timeout(20), subject.running():
        await started.wait()
        queue.beats = [True]
        while not queue.ends:
            subject.nudge()
            await asyncio.sleep(0.01)
    assert queue.ends == [("cancelled",)]
