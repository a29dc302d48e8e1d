"""The lease: work runs for as long as it is held, and ends with the error that explains why."""

import asyncio
from collections.abc import Coroutine
from typing import cast

import pytest

from catalog.jobs import Jobs, LeaseLost
from servicekit.errors import Unavailable
from tests.unit.trainer.jobs.fake_queue import JOB, FakeQueue
from trainer.jobs.lease import CancelRequested, Lease
from trainer.jobs.progress import Progress


def hold(queue: FakeQueue, work: Coroutine[object, object, None], seconds: float = 1.0) -> Coroutine[None, None, None]:
    lease = Lease(cast("Jobs", queue), JOB, Progress(), lease_seconds=seconds)
    return cast("Coroutine[None, None, None]", lease.hold(work))


async def forever(stopped: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        stopped.set()


async def test_it_returns_when_the_work_has_ended() -> None:
    async with asyncio.timeout(20):
        await hold(FakeQueue(), asyncio.sleep(0.01, None))


async def test_an_error_of_the_work_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await hold(FakeQueue(), fail())


async def test_work_that_cancels_itself_does_not_look_like_a_cancelled_worker() -> None:
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError):
        await hold(FakeQueue(), cancel_itself())


@pytest.mark.parametrize(
    ("beat", "error"),
    [(True, CancelRequested), (LeaseLost("lost"), LeaseLost), (Unavailable("away", retry_after=None), LeaseLost)],
)
async def test_work_stops_when_the_job_is_cancelled_lost_or_out_of_reach(
    beat: bool | Exception, error: type[Exception]
) -> None:
    stopped = asyncio.Event()
    async with asyncio.timeout(20):
        with pytest.raises(error):
            await hold(FakeQueue(beats=[beat]), forever(stopped), seconds=0.2)
    assert stopped.is_set()


async def test_a_short_outage_of_the_database_is_tolerated() -> None:
    queue = FakeQueue(beats=[Unavailable("away", retry_after=None), Unavailable("away", retry_after=None), False])

    async def until_it_is_back() -> None:
        while len(queue.beats) > 1:  # noqa: ASYNC110 (the lease sends heartbeats meanwhile)
            await asyncio.sleep(0.001)

    async with asyncio.timeout(20):
        await hold(queue, until_it_is_back(), seconds=1.0)


async def test_work_stops_when_the_worker_is_cancelled() -> None:
    stopped = asyncio.Event()
    holding = asyncio.create_task(hold(FakeQueue(), forever(stopped)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert stopped.is_set()
