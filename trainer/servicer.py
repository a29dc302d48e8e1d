"""The trainer's RPCs. Any replica answers for any job: what is asked is in Postgres."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import grpc
from similis.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from catalog.jobs import Job, Jobs, JobState
from servicekit.errors import Unavailable

SERVICE = "similis.trainer.v1.TrainerService"
WATCH_SECONDS = 0.5
STATES = {
    JobState.QUEUED: trainer_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: trainer_pb2.JOB_STATE_RUNNING,
    JobState.DONE: trainer_pb2.JOB_STATE_DONE,
    JobState.FAILED: trainer_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: trainer_pb2.JOB_STATE_CANCELLED,
}

Context = grpc.aio.ServicerContext[object, object]


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    """Parses, calls, converts."""

    def __init__(self, jobs: Jobs, nudge: Callable[[], None]) -> None:
        """nudge: wakes what looks for work in this process."""
        self._jobs = jobs
        self._nudge = nudge
        self._stopping = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the RPCs to a server."""
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(self, server)

    def stop(self) -> None:
        """Ends the streams under way, which would otherwise last as long as their jobs."""
        self._stopping.set()

    async def Nudge(self, request: trainer_pb2.NudgeRequest, context: Context) -> trainer_pb2.NudgeResponse:  # noqa: N802, ARG002
        """Something may be waiting."""
        self._nudge()
        return trainer_pb2.NudgeResponse()

    async def WatchJob(  # noqa: N802
        self,
        request: trainer_pb2.WatchJobRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[trainer_pb2.WatchJobResponse]:
        """The job now, then at every change, until it has ended. UNAVAILABLE when this process ends before."""
        shown = None
        while True:
            job = await self._jobs.get(request.job_id)
            progress = _progress(job)
            if progress != shown:
                shown = progress
                yield trainer_pb2.WatchJobResponse(job=progress)
            if job.state.ended:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._stopping.wait()
            if self._stopping.is_set():
                raise Unavailable("This trainer stops; another knows the job too.")

    async def CancelJob(  # noqa: N802
        self,
        request: trainer_pb2.CancelJobRequest,
        context: Context,  # noqa: ARG002
    ) -> trainer_pb2.CancelJobResponse:
        """Asks the job to end; its worker is told, whichever process it is in."""
        job = await self._jobs.request_cancel(request.job_id)
        self._nudge()
        return trainer_pb2.CancelJobResponse(job=_progress(job))


def _progress(job: Job) -> trainer_pb2.JobProgress:
    return trainer_pb2.JobProgress(
        job_id=job.id,
        state=STATES[job.state],
        phase=job.phase,
        progress=job.progress,
        error_code=job.error_code or "",
        error_message=job.error_message or "",
    )
