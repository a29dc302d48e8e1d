"""The learned adapter: what the collection's groups and views teach, adopted if the gate finds that it helps."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import aclosing

from catalog.vectors.projection import Projection
from servicekit.telemetry.logs import get_logger
from trainer.adapter.pca import (
    DIMENSION,
    Fitted,
    Previous,
    PrincipalComponents,
    Report,
    accumulate,
    principal_directions,
)
from trainer.adapter.process import LearnedHead, LearningFailed, Lesson, learn_apart
from trainer.adapter.recheck import Reexamination
from trainer.adapter.sample import Sample
from trainer.index.base_vectors import StoredVectors
from trainer.learning.dataset import (
    MIN_IMAGES,
    Earlier,
    Mask,
)

log = get_logger(__name__)

# An adapter that has learnt from all but so many of the rows is kept as it is, and one from all but so many begun with
# if there are images enough to ask both with: all others it knows.
KEPT_SHARE = 0.05
CONTINUED_SHARE = 0.5
MIN_FRESH = 40
# Steps of training: one for so many images.
IMAGES_PER_STEP = 4
MIN_STEPS, MAX_STEPS = 400, 1500
# Processes that may die of learning before the PCA is taken.
ATTEMPTS = 2


class LearnedAdapter:
    """A linear adapter trained on the collection, or the PCA where that would not help."""

    def __init__(self, executor: Executor, *, threads: int) -> None:
        """executor: for short numerical work. threads: of the process that trains."""
        self._executor = executor
        self._threads = threads
        self._principal = PrincipalComponents(executor)

    async def fit(self, vectors: StoredVectors, dim: int, previous: Previous | None, report: Report) -> Fitted:
        """From the base vectors and views of a bounded sample; from the previous adapter where most is as it was."""
        if previous is not None and previous.changed <= KEPT_SHARE:
            verdict = await Reexamination(self._executor, previous).run(vectors)
            log.info("adapter_kept" if verdict.adopted else "adapter_not_kept", reason=verdict.reason)
            if verdict.adopted:
                return previous.kept(verdict.parts)
            previous = None
        moment, count = await self._principal.moment(vectors, dim, report)
        sample = await self._gather(vectors, count, previous, report)
        loop = asyncio.get_running_loop()
        for views in sample.views:
            await loop.run_in_executor(self._executor, accumulate, moment, views.reshape(-1, dim))
        pca = await loop.run_in_executor(self._executor, principal_directions, moment, DIMENSION)
        if len(sample) < MIN_IMAGES:
            reason = f"there are fewer than {MIN_IMAGES} images"
            return Fitted(Projection(pca), {"adapter": "pca", "reason": reason, "images": count})
        data = await loop.run_in_executor(self._executor, sample.training_set)
        lesson = Lesson(data, pca, _earlier(previous, sample.fresh), _steps(len(data)), self._threads)
        learned = await learned_apart(lesson, _in_rows(report, 2 * count))
        log.info("adapter_learned", adapter=learned.quality["adapter"], reason=learned.quality["reason"])
        if previous is not None and learned.quality["adapter"] == "kept":
            return previous.kept(learned.quality["parts"])
        quality = learned.quality | {"images": count, "sample": len(data)}
        return Fitted(Projection(learned.head), quality)

    async def _gather(self, vectors: StoredVectors, count: int, previous: Previous | None, report: Report) -> Sample:
        sample = Sample(count, previous.revision if previous else 0)
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                rows = sample.rows(page.images)
                if len(rows):
                    images = [page.images[row] for row in rows]
                    shown, views = await vectors.views([image.id for image in images])
                    sample.add(images, page.vectors[rows], shown, views)
                report(page.rows)
        return sample


async def learned_apart(lesson: Lesson, report: Callable[[float], None]) -> LearnedHead:
    """What a process learns; a second one if the first fails, and the PCA if that fails too (of too little memory)."""
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return await learn_apart(lesson, report)
        except LearningFailed as error:
            reason = str(error)
            log.warning("learning_failed", reason=reason)
    return LearnedHead(lesson.pca, {"adapter": "pca", "reason": reason, "steps": 0, "parts": {}})


def _earlier(previous: Previous | None, fresh: Mask) -> Earlier | None:
    """What to go on from. The PCA is nothing: it has learnt nothing, and is as well made anew."""
    if previous is None or previous.changed > CONTINUED_SHARE or fresh.sum() < MIN_FRESH:
        return None
    if previous.fitted.quality.get("adapter") != "learned":
        return None
    return Earlier(previous.fitted.projection.matrix, fresh)


def _in_rows(report: Report, rows: int) -> Callable[[float], None]:
    """A report of shares, 0 to 1, as one of so many rows."""
    reported = 0

    def share_done(share: float) -> None:
        nonlocal reported
        done = int(share * rows)
        report(done - reported)
        reported = done

    return share_done


def _steps(images: int) -> int:
    return min(max(images // IMAGES_PER_STEP, MIN_STEPS), MAX_STEPS)
