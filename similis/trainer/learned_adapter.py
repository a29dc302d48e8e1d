"""The learned adapter: what the collection's groups and views teach, adopted if the gate finds that it helps."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from similis.catalog.images import Image
from similis.catalog.projection import Projection, normalised
from similis.servicekit.logs import get_logger
from similis.trainer.fitting import (
    DIMENSION,
    Fitted,
    Previous,
    PrincipalComponents,
    Report,
    accumulate,
    principal_directions,
)
from similis.trainer.learning.training_set import MIN_IMAGES, UNGROUPED, Matrix, TrainingSet, usable_groups
from similis.trainer.learning_process import LearnedHead, LearningFailed, Lesson, learn_apart
from similis.trainer.object_number import object_number
from similis.trainer.reexamination import Reexamination
from similis.trainer.stored_vectors import StoredVectors

log = get_logger(__name__)

# The training goes on in the space of so many principal directions: all that matters, at less than half of the size.
REDUCED = 512
# The most images that are learnt from: memory does not grow with the collection beyond them.
MAX_SAMPLE = 100_000
# An adapter that has learnt from all but so many of the rows is kept as it is, and one from all but so many begun with.
KEPT_SHARE = 0.05
CONTINUED_SHARE = 0.5
# Steps of training: as many as images in a small collection, fewer for each in a large one.
MIN_STEPS, SMALL_STEPS, MAX_STEPS = 100, 400, 1500
IMAGES_PER_STEP = 8
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
                found = {"kept": True, "changed": previous.changed, "unseen": verdict.parts}
                return Fitted(previous.fitted.projection, previous.fitted.quality | found)
        moment, count = await self._principal.moment(vectors, dim, report)
        sample = await self._gather(vectors, count, report)
        loop = asyncio.get_running_loop()
        if len(sample.groups) < MIN_IMAGES:
            reason = f"there are fewer than {MIN_IMAGES} images"
            directions = await loop.run_in_executor(self._executor, principal_directions, moment, DIMENSION)
            return Fitted(Projection(directions), {"adapter": "pca", "reason": reason, "images": count})
        for views in sample.views:
            await loop.run_in_executor(self._executor, accumulate, moment, views.reshape(-1, dim))
        basis = await loop.run_in_executor(self._executor, principal_directions, moment, REDUCED)
        data = await loop.run_in_executor(self._executor, sample.reduced, basis)
        start = None
        if previous is not None and previous.changed <= CONTINUED_SHARE:
            start = basis.T @ previous.fitted.projection.matrix
        lesson = Lesson(data, start, min(DIMENSION, dim), _steps(len(data)), self._threads)
        learned = await learned_apart(lesson, _in_rows(report, 2 * count))
        quality = learned.quality | {"images": count, "sample": len(data), "continued": start is not None}
        return Fitted(Projection(np.ascontiguousarray(basis @ learned.head, dtype=np.float32)), quality)

    async def _gather(self, vectors: StoredVectors, count: int, report: Report) -> "_Sample":
        sample = _Sample(min(MAX_SAMPLE / max(count, 1), 1.0))
        async for page in vectors.pages():
            rows = sample.rows(page.images)
            if len(rows):
                images = [page.images[row] for row in rows]
                shown, views = await vectors.views([image.id for image in images])
                sample.add(images, page.vectors[rows], shown, views)
            report(page.rows)
        return sample


@dataclass
class _Sample:
    """What is learnt from, as it comes. share: of the images, whole objects at a time."""

    share: float
    vectors: list[Matrix] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    views: list[Matrix] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def rows(self, images: list[Image]) -> list[int]:
        """Which of the images are in the sample, which has an end."""
        room = MAX_SAMPLE - len(self.groups)
        wanted = [row for row, image in enumerate(images) if object_number(image.repo_url) < self.share * 2**63]
        return wanted[:room]

    def add(self, images: list[Image], vectors: Matrix, shown: list[int], views: Matrix) -> None:
        """Takes in images with their base vectors [n, dim], and views [m, v, dim] of the images `shown` by id."""
        row_of = {image.id: len(self.groups) + row for row, image in enumerate(images)}
        self.vectors.append(normalised(vectors).astype(np.float16))
        self.groups.extend(object_number(image.repo_url) if image.repo_url else UNGROUPED for image in images)
        if shown:
            self.shown.extend(row_of[identifier] for identifier in shown)
            self.views.append(normalised(views))

    def reduced(self, basis: Matrix) -> TrainingSet:
        """The training set in the space of `basis` [dim, r]. The sample's vectors go page by page meanwhile."""
        size = basis.shape[1]
        vectors = np.empty((len(self.groups), size), np.float32)
        row = 0
        self.vectors.reverse()
        while self.vectors:
            page = self.vectors.pop()
            vectors[row : row + len(page)] = page.astype(np.float32) @ basis
            row += len(page)
        views = [page @ basis for page in self.views]
        return TrainingSet(
            vectors,
            usable_groups(np.array(self.groups, dtype=np.int64)),
            np.concatenate(views) if views else np.zeros((0, 1, size), np.float32),
            np.array(self.shown, dtype=np.int64),
        )


async def learned_apart(lesson: Lesson, report: Callable[[float], None]) -> LearnedHead:
    """What a process learns; a second one if the first dies, and the PCA if that dies too (of too little memory)."""
    for _ in range(ATTEMPTS):
        try:
            return await learn_apart(lesson, report)
        except LearningFailed as error:
            log.warning("learning_failed", reason=error.message)
    pca = np.eye(lesson.data.vectors.shape[1], lesson.dim, dtype=np.float32)
    return LearnedHead(pca, {"adapter": "pca", "reason": "the process that learns died", "steps": 0, "parts": {}})


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
    small = min(max(images, MIN_STEPS), SMALL_STEPS)
    return min(max(small, images // IMAGES_PER_STEP), MAX_STEPS)
