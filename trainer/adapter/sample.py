"""The sample of a collection that an adapter is trained on."""

import numpy as np

from catalog.images import Image
from catalog.vectors.projection import normalised
from trainer.adapter.object_number import object_number, object_of
from trainer.learning.dataset import UNGROUPED, Mask, Matrix, TrainingSet, usable_groups
from trainer.learning.pictures import same_pictures

# The most images that an adapter is trained on, so that memory does not grow with the collection.
MAX_SAMPLE = 100_000


class Sample:
    """Collects whole objects to train on, page by page, until the sample is full."""

    def __init__(self, images: int, revision: int, spanning: int | None) -> None:
        """images: the size of the collection. revision: the last one that was trained on, 0 for none.

        spanning: the number of the object that spans most of the collection, if there is one.
        """
        self._share = min(MAX_SAMPLE / max(images, 1), 1.0)
        self._spanning = spanning
        self._revision = revision
        self._vectors: list[Matrix] = []
        self._groups: list[int] = []
        self._shown: list[int] = []
        self._fresh: list[bool] = []
        self.views: list[Matrix] = []
        # The repository URL of most images, if there is one. It does not say what they show.
        self.shared_repo_url: str | None = None

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def fresh(self) -> Mask:
        """Which images were added or changed after the revision, bool [n]."""
        return np.array(self._fresh, dtype=bool)

    def rows(self, images: list[Image]) -> list[int]:
        """Return the positions of the images that belong to the sample, until it is full."""
        if self._spanning is not None and self.shared_repo_url is None:
            spanning = (image.repo_url for image in images if object_number(image.repo_url) == self._spanning)
            self.shared_repo_url = next(spanning, None)
        room = MAX_SAMPLE - len(self)
        limit = self._share * 2**63
        wanted = [row for row, image in enumerate(images) if object_of(image, self._spanning) < limit]
        return wanted[:room]

    def add(self, images: list[Image], vectors: Matrix, shown: list[int], views: Matrix) -> None:
        """Add images with their base vectors [n, dim], and views [m, v, dim] of the images whose ids are `shown`."""
        row_of = {image.id: len(self._groups) + row for row, image in enumerate(images)}
        self._vectors.append(normalised(vectors).astype(np.float16))
        self._groups.extend(object_number(image.repo_url) if image.repo_url else UNGROUPED for image in images)
        self._fresh.extend(image.since > self._revision for image in images)
        if shown:
            self._shown.extend(row_of[identifier] for identifier in shown)
            self.views.append(normalised(views))

    def training_set(self) -> TrainingSet:
        """Return the sample as a training set. The sample's own vectors are freed on the way."""
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
            same_pictures(vectors),
        )
