"""Assign queued images to workers, searches first. An image that has ended two workers gets no third one."""

import asyncio
import itertools
import time
from collections import deque

from embedder.metrics import EmbedderMetrics
from embedder.scheduling.inference import Inference
from embedder.scheduling.queue import ImageQueue
from embedder.scheduling.queued_image import QueuedImage
from embedder.workers.messages import WorkRequest, WorkResult
from embedder.workers.pool import WorkerPool
from embedder.workers.process import WorkerGone, WorkerProcess
from servicekit.errors import DeadlineExceeded
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A worker gets its next image while it still works on one, so that it never waits for this process.
IMAGES_PER_WORKER = 2
TOO_SLOW = "The image took too long to decode. Send a smaller or simpler version of it."
# A photograph of usual size takes a tenth of this. Other searches wait until any worker is free.
HELD_UP_SECONDS = 0.5
# How many searches delay another search as long as the bulk images of a worker do. Bulk workers have a low priority.
BULK_DELAY = 1.5


class Dispatcher:
    """Takes images from the queues whenever a worker of the pool can take one. Runs on the event loop."""

    def __init__(
        self,
        pool: WorkerPool,
        inference: Inference,
        interactive: ImageQueue,
        bulk: ImageQueue,
        metrics: EmbedderMetrics,
        *,
        cores: int,
    ) -> None:
        """cores: how many workers can run at a time without slowing each other down."""
        self._cores = cores
        self._pool = pool
        self._inference = inference
        self._interactive = interactive
        self._bulk = bulk
        self._metrics = metrics
        # Images that may have crashed a worker. Each is retried once, alone in a worker.
        self._suspects: deque[QueuedImage] = deque()
        # When a worker last had a suspect. Searches that had arrived by then have waited for one already.
        self._suspect_seen = float("-inf")
        self._running: set[asyncio.Task[None]] = set()
        self._ids = itertools.count(1)
        self.succeeded_at = 0.0
        pool.on_change = self._dispatch

    async def embed(self, image: QueuedImage) -> WorkResult:
        """Return the result of an image, which has a code if the image or the engine failed.

        Raises Overloaded if the interactive queue is full; bulk images wait for room. Raises DeadlineExceeded.
        """
        queue = self._interactive if image.is_urgent else self._bulk
        try:
            async with asyncio.timeout(max(0.0, image.deadline - time.monotonic())):
                if image.is_urgent:
                    queue.put(image)
                else:
                    await queue.wait_and_put(image)
                self._dispatch()
                return await image.result
        except TimeoutError:
            raise _timed_out() from None
        finally:
            if image.is_wanted:
                image.result.cancel()
            queue.drop(image)

    def _dispatch(self) -> None:
        """Submit images as long as there is one and a worker for it."""
        if any(worker.holds_suspect for worker in self._pool.workers):
            self._suspect_seen = time.monotonic()
        if not (self._suspects or len(self._interactive) or len(self._bulk)):
            return
        while self._submit_suspect() or self._submit_search() or self._submit_bulk():
            pass

    def _submit_suspect(self) -> bool:
        worker = self._worker_for_suspect()
        if worker is None or worker.outstanding:
            return False
        slots = self._inference.reserve(self._suspects[0].inputs)
        if slots is None:
            return False
        self._submit(self._suspects.popleft(), worker, slots)
        return True

    def _submit_search(self) -> bool:
        return len(self._interactive) > 0 and self._submit_first(self._interactive, self._worker_for_search())

    def _submit_bulk(self) -> bool:
        return len(self._bulk) > 0 and self._submit_first(self._bulk, self._worker_for_bulk())

    def _submit_first(self, queue: ImageQueue, worker: WorkerProcess | None) -> bool:
        image = queue.first()
        if worker is None or image is None:
            return False
        slots = self._inference.reserve(image.inputs)
        if slots is None:
            return False
        queue.take()
        if self._is_wanted(image):
            self._submit(image, worker, slots)
        else:
            self._inference.release(slots)
        return True

    def _is_wanted(self, image: QueuedImage) -> bool:
        """Return whether the caller still waits. It does not after the deadline."""
        if image.is_wanted and time.monotonic() >= image.deadline:
            image.fail(_timed_out())
        return image.is_wanted

    def _worker_for_suspect(self) -> WorkerProcess | None:
        """Return the worker that gets no other image until it is idle and can take the next suspect, if there is one.

        A worker that is reserved for searches takes a suspect only if there is no other. A search that has waited for a
        suspect goes ahead of the next one.
        """
        while self._suspects and not self._is_wanted(self._suspects[0]):
            self._suspects.popleft()
        search = self._interactive.first()
        if not self._suspects or (search is not None and search.arrived <= self._suspect_seen):
            return None
        return min(self._pool.usable, key=lambda worker: (worker.reserved, worker.outstanding), default=None)

    def _worker_for_search(self) -> WorkerProcess | None:
        free = [
            worker for worker in self._unsuspected() if worker.urgent < IMAGES_PER_WORKER and not _is_held_up(worker)
        ]
        if sum(worker.urgent > 0 and not _is_held_up(worker) for worker in self._pool.usable) >= self._cores:
            # A further worker would slow down the others, or starve if it has a low priority.
            free = [worker for worker in free if worker.urgent]
        # Among equally busy workers, the one that has worked longest on its image is likely to finish first.
        return min(free, key=lambda worker: (_delay(worker), not worker.reserved, worker.progressed_at), default=None)

    def _worker_for_bulk(self) -> WorkerProcess | None:
        if all(worker.reserved for worker in self._pool.usable):
            # Better than not at all, but only one image, so that a search waits for no more than that.
            free = [worker for worker in self._unsuspected() if not worker.outstanding]
        else:
            free = [
                worker
                for worker in self._unsuspected()
                if worker.outstanding < IMAGES_PER_WORKER and not worker.reserved
            ]
        return min(free, key=lambda worker: worker.outstanding, default=None)

    def _unsuspected(self) -> list[WorkerProcess]:
        """Return the workers that neither have a suspect nor wait for one."""
        next_for_suspect = self._worker_for_suspect()
        return [worker for worker in self._pool.usable if not worker.holds_suspect and worker is not next_for_suspect]

    def _submit(self, image: QueuedImage, worker: WorkerProcess, slots: list[int]) -> None:
        self._metrics.queue_wait.labels(image.lane).observe(time.monotonic() - image.arrived)
        request = WorkRequest(
            next(self._ids),
            image.image,
            slots,
            image.views,
            image.seed,
            canary=image.canary,
            urgent=image.is_urgent,
            all_cores=image.is_urgent and self._is_lone(worker),
            suspect=image.suspect,
            region=image.region,
            whole=image.whole,
            miniature=image.miniature,
        )
        task = asyncio.create_task(self._finish(image, slots, request.id, worker.submit(request)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _is_lone(self, worker: WorkerProcess) -> bool:
        """Return whether a search in this worker may use all cores, because it slows nothing that matters."""
        if worker.reserved:
            # The others have a low priority then.
            return not any(other.urgent for other in self._pool.workers)
        return not any(other.outstanding for other in self._pool.workers)

    async def _finish(
        self, image: QueuedImage, slots: list[int], request: int, pending: asyncio.Future[WorkResult]
    ) -> None:
        try:
            result = await pending
            if result.code is None:
                result = await self._inference.infer(result, slots, urgent=image.is_urgent)
        except WorkerGone as gone:
            self._worker_exited_with(image, request, gone)
        else:
            if result.code is None:
                self.succeeded_at = time.monotonic()
                self._metrics.decode.observe(result.decode_seconds)
            image.finish(result)
            if not slots:
                # The next image was submitted when the worker answered.
                return
        self._inference.release(slots)
        self._dispatch()

    def _worker_exited_with(self, image: QueuedImage, request: int, gone: WorkerGone) -> None:
        """Try the image once more, unless it is at fault: the worker ran out of time, or had no other image."""
        if not image.is_wanted:
            return
        if gone.spares(request):
            (self._interactive if image.is_urgent else self._bulk).put_back(image)
            return
        if gone.out_of_time:
            log.warning("image_too_slow", lane=image.lane, image_bytes=len(image.image))
            image.finish(WorkResult(0, code="image_too_slow", message=TOO_SLOW))
            return
        if image.suspect:
            log.warning("image_crashed_worker", lane=image.lane, image_bytes=len(image.image))
            message = "The image could not be decoded: it crashed the decoder or took too long, twice."
            image.finish(WorkResult(0, code="image_crashed_decoder", message=message))
            return
        self._metrics.retries.inc()
        image.suspect = True
        self._suspects.append(image)


def _timed_out() -> DeadlineExceeded:
    return DeadlineExceeded("The image was not embedded before the deadline.")


def _is_held_up(worker: WorkerProcess) -> bool:
    """Return whether a worker has worked on one image for so long that a search should not wait behind it."""
    return worker.outstanding > 0 and time.monotonic() - worker.progressed_at > HELD_UP_SECONDS


def _delay(worker: WorkerProcess) -> float:
    """Return how long a search would wait in this worker, counted in searches."""
    return worker.urgent + (BULK_DELAY if worker.outstanding > worker.urgent else 0.0)
