"""Places: a job that waits lends its place, and has one again before it goes on."""

import asyncio

import pytest

from catalog.postgres.leased_queue import PacingHost, PhaseCounts
from trainer.jobs import places
from trainer.jobs.places import Places

SLOW = [PacingHost("images.example.org", "slow")]


class Work:
    """Counts what is done."""

    def __init__(self) -> None:
        self.done = 0
        self.paced_by: list[PacingHost] = []

    def counts(self) -> PhaseCounts:
        return PhaseCounts(self.done, None, None, self.paced_by)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(places, "LOOK_SECONDS", 0.01)


async def holds(all_places: Places) -> bool:
    """Return whether another job gets a place within a while."""
    try:
        async with asyncio.timeout(0.5), all_places.place():
            return True
    except TimeoutError:
        return False


async def test_a_job_that_gets_nothing_done_lends_its_place_and_waits_for_one_at_the_end() -> None:
    found, work = Places(1), Work()
    other, ended = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with found.place() as place:
            async with place.lent_while_waiting(work.counts):
                await other.wait()
            ended.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(first())
        await asyncio.sleep(0)
        async with found.place():
            other.set()
            await asyncio.sleep(0.05)
            # It has the images, but fits nothing while another job does.
            assert not ended.is_set()
        await ended.wait()
    assert await holds(found)


async def test_a_job_whose_hosts_set_the_pace_lends_its_place_though_images_come() -> None:
    found, work = Places(1), Work()
    work.paced_by = SLOW

    async def progress() -> None:
        while True:
            work.done += 1
            await asyncio.sleep(0.005)

    async with found.place() as place, place.lent_while_waiting(work.counts):
        progressing = asyncio.create_task(progress())
        assert await holds(found)
        progressing.cancel()


async def test_a_job_that_gets_on_keeps_its_place() -> None:
    found, work = Places(1), Work()

    async def progress() -> None:
        while True:
            work.done += 1
            await asyncio.sleep(0.005)

    async with found.place() as place, place.lent_while_waiting(work.counts):
        progressing = asyncio.create_task(progress())
        assert not await holds(found)
        progressing.cancel()


async def test_a_job_that_ends_while_its_place_is_lent_takes_none_from_others() -> None:
    found, work = Places(1), Work()

    async def fails() -> None:
        async with found.place() as place, place.lent_while_waiting(work.counts):
            await asyncio.sleep(0.3)
            raise ValueError("ended")

    with pytest.raises(ValueError, match="ended"):
        await fails()
    async with found.place():
        assert not await holds(found)
