"""A fake queue with one job, for tests of workers and leases."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from catalog.jobs import Job, JobState, PhaseCounts

JOB = Job(
    id=1,
    collection_id=1,
    revision=1,
    state=JobState.RUNNING,
    phase="fetching",
    progress=0.0,
    force=False,
    refresh=False,
    token=1,
    attempts=1,
    cancel_requested=False,
    error_code=None,
    error_message=None,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@dataclass
class FakeQueue:
    """Stands in for `catalog.jobs.Jobs`.

    beats: the results of heartbeats in turn; the last one repeats. recording_fails: the error of the calls that record
    the end of the job. ends: what was recorded.
    """

    job: Job | None = JOB
    beats: list[bool | Exception] = field(default_factory=lambda: [False])
    recording_fails: Exception | None = None
    ends: list[tuple[str, ...]] = field(default_factory=list)
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim(self, worker: str) -> Job | None:  # noqa: ARG002
        job, self.job = self.job, None
        if job is None:
            self.idle.set()
        return job

    async def heartbeat(self, job: Job, phase: str, progress: float, counts: PhaseCounts | None = None) -> bool:  # noqa: ARG002
        beat = self.beats.pop(0) if len(self.beats) > 1 else self.beats[0]
        if isinstance(beat, Exception):
            raise beat
        return beat

    async def fail(self, job: Job, code: str, message: str) -> None:  # noqa: ARG002
        self._record("failed", code, message)

    async def mark_cancelled(self, job: Job) -> None:  # noqa: ARG002
        self._record("cancelled")

    async def release(self, job: Job) -> None:  # noqa: ARG002
        self._record("released")

    def _record(self, *end: str) -> None:
        if self.recording_fails is not None:
            raise self.recording_fails
        self.ends.append(end)
