"""Re-evaluation: evaluate the adapter in use on the images that were added since it was trained."""

import asyncio
from concurrent.futures import Executor
from contextlib import aclosing

import numpy as np

from catalog.images import Image
from catalog.vectors.projection import normalised
from trainer.adapter.object_number import object_number, object_of
from trainer.adapter.pca import Previous
from trainer.index.base_vectors import StoredVectors, VectorPage
from trainer.learning.acceptance import Decision, decide_reuse
from trainer.learning.dataset import UNGROUPED, Matrix, TrainingSet, usable_groups
from trainer.learning.evaluation import Evaluation
from trainer.learning.holdout import fresh_holdout
from trainer.learning.pictures import same_pictures

# Gallery images besides the new ones: of the objects that the new images show, and of all others.
RELATED = 4000
OTHERS = 4000
MAX_OTHERS = 2 * OTHERS


class Reevaluation:
    """Decides through the acceptance gate whether to keep the live adapter of a collection."""

    def __init__(self, executor: Executor, previous: Previous) -> None:
        self._executor = executor
        self._previous = previous
        self._unseen = {image.id for image in previous.unseen}
        self._objects = {image.repo_url for image in previous.unseen if image.repo_url}
        self._share = min(OTHERS / max(previous.images, 1), 1.0)
        self._related, self._others = RELATED, MAX_OTHERS

    async def run(self, vectors: StoredVectors) -> Decision:
        """Return the decision on the previous adapter. Reads the base vectors once if there are new images."""
        if not self._previous.unseen:
            return decide_reuse(Evaluation(0.0), "adapter")
        taken = []
        async with aclosing(vectors.pages()) as pages:
            async for page in pages:
                rows = [row for row, image in enumerate(page.images) if self._takes(image)]
                taken.append(VectorPage([page.images[row] for row in rows], page.vectors[rows], page.rows))
        shown, views = await vectors.views([image.id for image in self._previous.unseen])
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._evaluate, taken, shown, views)

    def _takes(self, image: Image) -> bool:
        if image.id in self._unseen:
            return True
        if image.repo_url in self._objects and self._related:
            self._related -= 1
            return True
        # Objects are taken with all their images, as long as there is room.
        if self._others and object_of(image, None) < self._share * 2**63:
            self._others -= 1
            return True
        return False

    def _evaluate(self, pages: list[VectorPage], shown: list[int], views: Matrix) -> Decision:
        images = [image for page in pages for image in page.images]
        row_of = {image.id: row for row, image in enumerate(images)}
        groups = [object_number(image.repo_url) if image.repo_url else UNGROUPED for image in images]
        present = [row for row, identifier in enumerate(shown) if identifier in row_of]
        unseen = np.zeros(len(images), dtype=bool)
        unseen[[row_of[image.id] for image in self._previous.unseen if image.id in row_of]] = True
        vectors = normalised(np.concatenate([page.vectors for page in pages]))
        data = TrainingSet(
            vectors,
            usable_groups(np.array(groups, dtype=np.int64)),
            normalised(views[present]),
            np.array([row_of[shown[row]] for row in present], dtype=np.int64),
            same_pictures(vectors),
        )
        holdout, evaluation = fresh_holdout(data, unseen, seed=0), Evaluation(data.grouped)
        evaluation.add(holdout, "frozen", None)
        evaluation.add(holdout, "adapter", self._previous.fitted.projection.matrix)
        return decide_reuse(evaluation, "adapter")
