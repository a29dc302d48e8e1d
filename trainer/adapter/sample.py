"""The sample of a collection that is learnt from."""

import numpy as np

from catalog.images import Image
from catalog.vectors.projection import normalised
from trainer.adapter.object_number import object_number
from trainer.learning.dataset import UNGROUPED, Mask, Matrix, TrainingSet, usable_groups

# The most images that are learnt from: memory does not grow with the collection beyond them.
MAX_SAMPLE = 100_000


class Sample:
    """Takes in page by page what is learnt from: whole objects, as many as there is room for."""

    def __init__(self, images: int, revision: int) -> None:
        """images: of the collection. revision: the last one that was learnt from before, 0 for none."""
        self._share = min(MAX_SAMPLE / max(images, 1), 1.0)
        self._revision = revision
        self._vectors: list[Matrix] = []
        self._groups: list[int] = []
        self._shown: list[int] = []
        self._fresh: list[bool] = []
        self.views: list[Matrix] = []

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def fresh(self) -> Mask:
        """Bool [n]: the images that came or changed after the revision."""
        return np.array(self._fresh, dtype=bool)

    def rows(self, images: list[Image]) -> list[int]:
        """Which of the images are in the sample, which has an end."""
        room = MAX_SAMPLE - len(self)
        wanted = [row for row, image in enumerate(images) if object_number(image.repo_url) < self._share * 2**63]
        return wanted[:room]

    def add(self, images: list[Image], vectors: Matrix, shown: list[int], views: Matrix) -> None:
        """Takes in images with their base vectors [n, dim], and views [m, v, dim] of the images `shown` by id."""
        row_of = {image.id: len(self._groups) + row for row, image in enumerate(images)}
        self._vectors.append(normalised(vectors).astype(np.float16))
        self._groups.extend(object_number(image.repo_url) if image.repo_url else UNGROUPED for image in images)
        self._fresh.extend(image.since > self._revision for image in images)
        if shown:
            self._shown.extend(row_of[identifier] for identifier in shown)
            self.views.append(normalised(views))

    def training_set(self) -> TrainingSet:
        """What was taken in. The sample's vectors go page by page meanwhile."""
        size = self._vectors[0].shape[1]
        vectors = np.empty((len(self._groups), size), np.float16)
        row = 0
        self._vectors.reverse()
        while self._vectors:
            page = self._vectors.pop()
            vectors[row : row + len(page)] = page
            row += len(page)
        return TrainingSet(
            vectors,
            usable_groups(np.array(self._groups, dtype=np.int64)),
            np.concatenate(self.views).astype(np.float16) if self.views else np.zeros((0, 1, size), np.float16),
            np.array(self._shown, dtype=np.int64),
        )
