"""Who gets which worker, with real connections whose other ends the test plays."""

import asyncio

from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.dispatcher import DEPTH, Dispatcher
from embedder.scheduling.queue import Lane
from embedder.scheduling.stage import InPlace
from embedder.scheduling.work_item import Item, LaneName, Outcome
from tests.unit.embedder.workers.played_workers import SECONDS, Played, played_pool, played_worker, settled


class Place:
    """A dispatcher in front of workers that are played."""

    def __init__(self) -> None:
        metrics = EmbedderMetrics(CollectorRegistry())
        self.pool = played_pool(metrics)
        lanes = (Lane("interactive", 30, 1000, metrics), Lane("bulk", 10, 1000, metrics))
        self.dispatcher = Dispatcher(self.pool, InPlace(metrics), *lanes, 1, metrics)

    def embedding(self, image: bytes, lane: LaneName = "bulk") -> "asyncio.Task[Outcome]":
        """An image on its way."""
        return asyncio.create_task(self.dispatcher.embed(Item(image, lane, asyncio.get_running_loop().time() + 60)))


async def suspects_of(place: Place, played: Played, images: list[bytes]) -> "list[asyncio.Task[Outcome]]":
    """Images that a worker died with, and that wait to be tried alone."""
    suspects = [place.embedding(image) for image in images]
    for _ in images:
        await played.job()
    played.die()
    while played.worker.alive:  # noqa: ASYNC110 - the connection's end is seen by another task
        await asyncio.sleep(0)
    await settled()
    return suspects


async def answered(played: Played, tasks: "list[asyncio.Task[Outcome]]") -> None:
    """Has a worker answer until all these images have their outcomes."""
    async with asyncio.timeout(SECONDS):
        while not all(task.done() for task in tasks):
            job, _ = await played.job()
            played.answer(job)
            await settled()
        assert [outcome.code for outcome in await asyncio.gather(*tasks)] == [None] * len(tasks)


async def test_two_images_that_may_have_killed_a_worker_are_each_alone_with_the_next_one() -> None:
    place = Place()
    async with played_worker(place.pool) as first:
        suspects = await suspects_of(place, first, [b"a", b"b"])
        others = [place.embedding(b"c"), place.embedding(b"d")]
        async with played_worker(place.pool) as second:
            for image in (b"a", b"b"):
                job, given = await second.job()
                assert given == image
                await settled()
                assert (second.worker.outstanding, second.worker.holds_suspect) == (1, True)
                second.answer(job)
            for image in (b"c", b"d"):
                job, given = await second.job()
                assert given == image
                second.answer(job)
            async with asyncio.timeout(SECONDS):
                outcomes = await asyncio.gather(*suspects, *others)
            assert [outcome.code for outcome in outcomes] == [None] * 4


async def test_searches_have_a_worker_that_bulk_images_do_not_get() -> None:
    place = Place()
    async with played_worker(place.pool, reserved=True) as reserved, played_worker(place.pool) as other:
        bulk = [place.embedding(bytes([number])) for number in range(4)]
        await settled()
        assert (reserved.worker.outstanding, other.worker.outstanding) == (0, 2)
        search = place.embedding(b"search", "interactive")
        job, image = await reserved.job()
        # What steps back slows nobody, so the search has all cores.
        assert (image, job["urgent"], job["wide"]) == (b"search", True, True)
        second = place.embedding(b"second", "interactive")
        await settled()
        assert (reserved.worker.urgent, other.worker.urgent) == (2, 0)
        reserved.answer(job)
        job, _ = await reserved.job()
        assert not job["wide"]
        reserved.answer(job)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(search, second)
        for task in bulk:
            task.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)


async def test_an_image_whose_caller_left_is_not_given_out() -> None:
    place = Place()
    gone, stays = place.embedding(b"gone"), place.embedding(b"stays")
    await settled()
    gone.cancel()
    await settled()
    async with played_worker(place.pool) as worker:
        job, image = await worker.job()
        assert image == b"stays"
        worker.answer(job)
        async with asyncio.timeout(SECONDS):
            assert (await stays).code is None


async def test_bulk_images_go_one_by_one_to_the_worker_of_searches_while_no_other_lives() -> None:
    place = Place()
    async with played_worker(place.pool, reserved=True) as reserved:
        bulk = [place.embedding(bytes([number])) for number in range(3)]
        job, _ = await reserved.job()
        await settled()
        assert reserved.worker.outstanding == 1
        reserved.answer(job)
        job, _ = await reserved.job()
        async with played_worker(place.pool) as other:
            found, image = await other.job()
            assert image == bytes([2])
            reserved.answer(job)
            other.answer(found)
            async with asyncio.timeout(SECONDS):
                assert [outcome.code for outcome in await asyncio.gather(*bulk)] == [None] * 3


async def test_a_suspect_gets_a_worker_for_itself_however_many_searches_come() -> None:
    place = Place()
    async with played_worker(place.pool) as worker:
        searches = [place.embedding(b"search", "interactive") for _ in range(DEPTH)]
        await settled()
        async with played_worker(place.pool) as first:
            suspects = await suspects_of(place, first, [b"suspect"])
        given: list[bytes] = []
        while b"suspect" not in given and len(given) < 10:
            # There are always some that wait.
            searches += [place.embedding(b"search", "interactive") for _ in range(2)]
            job, image = await worker.job()
            await settled()
            given.append(image)
            assert image != b"suspect" or worker.worker.outstanding == 1
            worker.answer(job)
        assert given == [b"search"] * DEPTH + [b"suspect"]
        await answered(worker, [*suspects, *searches])


async def test_no_search_waits_for_two_suspects() -> None:
    place = Place()
    async with played_worker(place.pool) as first:
        suspects = await suspects_of(place, first, [b"a", b"b"])
        async with played_worker(place.pool) as worker:
            job, image = await worker.job()
            assert image == b"a"
            searches = [place.embedding(b"search", "interactive") for _ in range(3)]
            await settled()
            worker.answer(job)
            given = []
            for _ in range(4):
                job, image = await worker.job()
                # One that comes now has not waited for a suspect, and waits for this one.
                searches.append(place.embedding(b"later", "interactive"))
                await settled()
                given.append(image)
                worker.answer(job)
            assert given == [b"search", b"search", b"search", b"b"]
            await answered(worker, [*suspects, *searches])


async def test_a_suspect_waits_for_another_worker_than_that_of_searches() -> None:
    place = Place()
    async with played_worker(place.pool, reserved=True) as reserved, played_worker(place.pool) as other:
        before = [place.embedding(b"before") for _ in range(DEPTH)]
        held = [(await other.job())[0] for _ in before]
        async with played_worker(place.pool) as first:
            suspects = await suspects_of(place, first, [b"suspect"])
        search, later = place.embedding(b"search", "interactive"), place.embedding(b"later")
        job, image = await reserved.job()
        assert image == b"search"
        reserved.answer(job)
        other.answer(held[0])
        async with asyncio.timeout(SECONDS):
            await search
            await before[0]
        await settled()
        assert (reserved.worker.outstanding, other.worker.outstanding) == (0, 1)
        other.answer(held[1])
        job, image = await other.job()
        await settled()
        assert (image, other.worker.outstanding) == (b"suspect", 1)
        other.answer(job)
        job, image = await other.job()
        assert image == b"later"
        other.answer(job)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*before, *suspects, later)
