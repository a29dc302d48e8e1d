"""Which worker gets which image. The test plays the workers."""

import asyncio
import signal

import pytest
from prometheus_client import CollectorRegistry

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.dispatcher import HELD_UP_SECONDS, IMAGES_PER_WORKER, Dispatcher
from embedder.scheduling.inference import FusedInference
from embedder.scheduling.queue import ImageQueue
from embedder.scheduling.queued_image import LaneName, QueuedImage
from embedder.workers.cpu_limit import FATAL
from embedder.workers.messages import WorkResult
from tests.unit.embedder.workers.played_workers import (
    TIMEOUT_SECONDS,
    PlayedWorker,
    played_pool,
    played_worker,
    run_ready_tasks,
)

Embedding = asyncio.Task[WorkResult]


class Scene:
    """A dispatcher in front of played workers."""

    def __init__(self, *, cores: int = 8) -> None:
        metrics = EmbedderMetrics(CollectorRegistry())
        self.pool = played_pool(metrics)
        queues = (ImageQueue("interactive", 30, 1000, metrics), ImageQueue("bulk", 10, 1000, metrics))
        self.dispatcher = Dispatcher(self.pool, FusedInference(metrics), *queues, metrics, cores=cores)

    def bulk(self, image: bytes) -> Embedding:
        """Send an image of a finetune."""
        return self._embed(image, "bulk")

    def search(self, image: bytes = b"search") -> Embedding:
        """Send an image of a search."""
        return self._embed(image, "interactive")

    def _embed(self, image: bytes, lane: LaneName) -> Embedding:
        queued = QueuedImage(image, lane, asyncio.get_running_loop().time() + 60)
        return asyncio.create_task(self.dispatcher.embed(queued))

    async def suspects(self, worker: PlayedWorker, images: list[bytes]) -> list[Embedding]:
        """Send images that a worker exits with, so that each has to be tried alone."""
        suspects = [self.bulk(image) for image in images]
        for _ in images:
            await worker.request()
        await worker.exit()
        return suspects


async def answer_until_done(worker: PlayedWorker, embeddings: list[Embedding]) -> None:
    """Answer the requests of a worker until all these images are embedded."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not all(embedding.done() for embedding in embeddings):
            worker.answer(await worker.request())
            await run_ready_tasks()
    await assert_embedded(*embeddings)


async def assert_embedded(*embeddings: Embedding) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert [result.code for result in await asyncio.gather(*embeddings)] == [None] * len(embeddings)


async def test_each_image_that_may_have_ended_a_worker_is_tried_alone() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as first:
        suspects = await scene.suspects(first, [b"a", b"b"])
        others = [scene.bulk(b"c"), scene.bulk(b"d")]
        async with played_worker(scene.pool) as second:
            for image in (b"a", b"b"):
                request = await second.request()
                assert request.image == image
                await run_ready_tasks()
                assert (second.worker.outstanding, second.worker.holds_suspect) == (1, True)
                second.answer(request)
            for image in (b"c", b"d"):
                request = await second.request()
                assert request.image == image
                second.answer(request)
            await assert_embedded(*suspects, *others)


async def test_an_image_that_ends_a_second_worker_is_refused() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as first:
        (suspect,) = await scene.suspects(first, [b"crash"])
        async with played_worker(scene.pool) as second:
            assert (await second.request()).suspect
            await second.exit()
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert (await suspect).code == "image_crashed_decoder"
            async with played_worker(scene.pool) as third:
                await run_ready_tasks()
                assert third.worker.outstanding == 0


async def test_bulk_images_do_not_use_the_worker_that_is_reserved_for_searches() -> None:
    scene = Scene()
    async with played_worker(scene.pool, reserved=True) as reserved, played_worker(scene.pool) as other:
        bulk = [scene.bulk(bytes([number])) for number in range(4)]
        await run_ready_tasks()
        assert (reserved.worker.outstanding, other.worker.outstanding) == (0, IMAGES_PER_WORKER)
        first = scene.search(b"first")
        request = await reserved.request()
        # Bulk workers have a low priority, so the search may use all cores.
        assert (request.image, request.urgent, request.all_cores) == (b"first", True, True)
        second = scene.search(b"second")
        await run_ready_tasks()
        assert (reserved.worker.urgent, other.worker.urgent) == (2, 0)
        reserved.answer(request)
        request = await reserved.request()
        assert not request.all_cores
        reserved.answer(request)
        await assert_embedded(first, second)
        for embedding in bulk:
            embedding.cancel()
        await asyncio.gather(*bulk, return_exceptions=True)


async def test_no_more_workers_have_searches_than_there_are_cores() -> None:
    scene = Scene(cores=2)
    async with (
        played_worker(scene.pool, reserved=True) as first,
        played_worker(scene.pool, reserved=True) as second,
        played_worker(scene.pool) as other,
    ):
        searches = [scene.search(bytes([number])) for number in range(5)]
        await run_ready_tasks()
        assert [worker.worker.urgent for worker in (first, second, other)] == [2, 2, 0]
        # The last one gets the first place that becomes free.
        second.answer(await second.request())
        assert (await second.request()).image == bytes([3])
        assert (await second.request()).image == bytes([4])
        assert other.worker.urgent == 0
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)


async def test_searches_use_workers_of_finetunes_on_free_cores() -> None:
    scene = Scene(cores=2)
    async with played_worker(scene.pool, reserved=True) as reserved, played_worker(scene.pool) as other:
        searches = [scene.search(bytes([number])) for number in range(2)]
        await run_ready_tasks()
        assert [worker.worker.urgent for worker in (reserved, other)] == [1, 1]
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)


async def test_an_image_whose_caller_has_left_is_not_submitted() -> None:
    scene = Scene()
    leaves, stays = scene.bulk(b"leaves"), scene.bulk(b"stays")
    await run_ready_tasks()
    leaves.cancel()
    await run_ready_tasks()
    async with played_worker(scene.pool) as worker:
        request = await worker.request()
        assert request.image == b"stays"
        worker.answer(request)
        await assert_embedded(stays)


async def test_without_other_workers_the_reserved_one_takes_one_bulk_image_at_a_time() -> None:
    scene = Scene()
    async with played_worker(scene.pool, reserved=True) as reserved:
        bulk = [scene.bulk(bytes([number])) for number in range(3)]
        first = await reserved.request()
        await run_ready_tasks()
        assert reserved.worker.outstanding == 1
        reserved.answer(first)
        second = await reserved.request()
        async with played_worker(scene.pool) as other:
            third = await other.request()
            assert third.image == bytes([2])
            reserved.answer(second)
            other.answer(third)
            await assert_embedded(*bulk)


async def test_a_suspect_gets_a_worker_for_itself_under_a_constant_load_of_searches() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as worker:
        searches = [scene.search() for _ in range(IMAGES_PER_WORKER)]
        await run_ready_tasks()
        async with played_worker(scene.pool) as first:
            suspects = await scene.suspects(first, [b"suspect"])
        submitted: list[bytes] = []
        while b"suspect" not in submitted and len(submitted) < 10:
            # Some searches always wait.
            searches += [scene.search() for _ in range(2)]
            request = await worker.request()
            await run_ready_tasks()
            submitted.append(request.image)
            assert request.image != b"suspect" or worker.worker.outstanding == 1
            worker.answer(request)
        assert submitted == [b"search"] * IMAGES_PER_WORKER + [b"suspect"]
        await answer_until_done(worker, [*suspects, *searches])


async def test_no_search_waits_for_two_suspects() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as first:
        suspects = await scene.suspects(first, [b"a", b"b"])
        async with played_worker(scene.pool) as worker:
            request = await worker.request()
            assert request.image == b"a"
            searches = [scene.search() for _ in range(3)]
            await run_ready_tasks()
            worker.answer(request)
            submitted = []
            for _ in range(4):
                request = await worker.request()
                # This search has not waited for a suspect yet, so it waits for the next one.
                searches.append(scene.search(b"later"))
                await run_ready_tasks()
                submitted.append(request.image)
                worker.answer(request)
            assert submitted == [b"search", b"search", b"search", b"b"]
            await answer_until_done(worker, [*suspects, *searches])


async def test_a_suspect_waits_for_a_worker_that_is_not_reserved_for_searches() -> None:
    scene = Scene()
    async with played_worker(scene.pool, reserved=True) as reserved, played_worker(scene.pool) as other:
        before = [scene.bulk(b"before") for _ in range(IMAGES_PER_WORKER)]
        held = [await other.request() for _ in before]
        async with played_worker(scene.pool) as first:
            suspects = await scene.suspects(first, [b"suspect"])
        search, later = scene.search(), scene.bulk(b"later")
        request = await reserved.request()
        assert request.image == b"search"
        reserved.answer(request)
        other.answer(held[0])
        await assert_embedded(search, before[0])
        await run_ready_tasks()
        assert (reserved.worker.outstanding, other.worker.outstanding) == (0, 1)
        other.answer(held[1])
        request = await other.request()
        await run_ready_tasks()
        assert (request.image, other.worker.outstanding) == (b"suspect", 1)
        other.answer(request)
        request = await other.request()
        assert request.image == b"later"
        other.answer(request)
        await assert_embedded(*before, *suspects, later)


async def test_an_image_that_took_too_long_is_refused_without_a_second_run() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as first:
        slow = scene.search(b"slow")
        first.begin(await first.request())
        await first.exit(FATAL)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert (await slow).code == "image_too_slow"
        async with played_worker(scene.pool) as second:
            await run_ready_tasks()
            assert second.worker.outstanding == 0


@pytest.mark.parametrize("end", [FATAL, signal.SIGKILL])
async def test_an_image_that_waits_behind_one_that_ends_the_worker_is_not_blamed(end: signal.Signals) -> None:
    scene = Scene()
    async with played_worker(scene.pool) as first:
        culprit, innocent = scene.search(b"culprit"), scene.search(b"innocent")
        first.begin(await first.request())
        assert (await first.request()).image == b"innocent"
        await first.exit(end)
        assert culprit.done() == (end == FATAL)
        async with played_worker(scene.pool) as second:
            again = await second.request()
            if again.image == b"culprit":
                second.answer(again)
                again = await second.request()
            assert (again.image, again.suspect) == (b"innocent", False)
            second.answer(again)
            await assert_embedded(innocent)


async def test_a_search_does_not_wait_behind_an_image_that_takes_long() -> None:
    scene = Scene()
    async with played_worker(scene.pool) as slow, played_worker(scene.pool) as quick:
        searches = [scene.search(b"slow"), scene.search(b"quick")]
        requests = [await slow.request(), await quick.request()]
        slow.worker.progressed_at -= 2 * HELD_UP_SECONDS
        searches.append(scene.search(b"next"))
        assert (await quick.request()).image == b"next"
        searches.append(scene.search(b"last"))
        await run_ready_tasks()
        assert slow.worker.outstanding == 1
        quick.answer(requests[1])
        assert (await quick.request()).image == b"last"
