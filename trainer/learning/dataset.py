"""What there is to learn from: a bounded sample of a collection's base vectors, groups and views."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
# Of unit vectors, of which half precision tells all that matters, in half of the memory.
UnitVectors = npt.NDArray[np.float16] | Matrix
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A group that covers more of a collection than this says nothing about what belongs together.
MAX_GROUP_SHARE = 0.5
UNGROUPED = -1
# With fewer images than this nothing can be measured, so nothing is learnt.
MIN_IMAGES = 40


@dataclass(frozen=True)
class Earlier:
    """A head [dim, d] that an earlier training gave. fresh: bool [n], the images that it has not learnt from."""

    head: Matrix
    fresh: Mask


@dataclass(frozen=True)
class TrainingSet:
    """A sample of n images.

    vectors: [n, dim], the unit base vectors. groups: int64 [n]; images with the same number show the same object,
    UNGROUPED ones are known by themselves only. views: [m, v, dim], the unit vectors of v augmented views of m of the
    images. viewed: int64 [m], which images those are.
    """

    vectors: UnitVectors
    groups: Labels
    views: UnitVectors
    viewed: Labels

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def grouped(self) -> float:
        """The share of the images, 0 to 1, that have a group."""
        return float((self.groups != UNGROUPED).mean()) if len(self) else 0.0

    def with_groups(self, groups: Labels) -> "TrainingSet":
        """The same images, grouped otherwise."""
        return TrainingSet(self.vectors, groups, self.views, self.viewed)

    def without(self, images: Mask) -> "TrainingSet":
        """The set without `images`, bool [n], and their views."""
        position = np.cumsum(~images) - 1
        kept = ~images[self.viewed]
        return TrainingSet(
            self.vectors[~images], self.groups[~images], self.views[kept], position[self.viewed[kept]].astype(np.int64)
        )

    def without_views(self, images: Mask) -> "TrainingSet":
        """The set without the views of `images`, bool [n]."""
        kept = ~images[self.viewed]
        return TrainingSet(self.vectors, self.groups, self.views[kept], self.viewed[kept])

    def without_view(self, number: int) -> "TrainingSet":
        """The set without this view of each image."""
        return TrainingSet(self.vectors, self.groups, np.delete(self.views, number, axis=1), self.viewed)


def usable_groups(groups: Labels) -> Labels:
    """The groups [n] without those of one image, and without one that spans most of the collection."""
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    usable = (names != UNGROUPED) & (counts > 1) & (counts <= MAX_GROUP_SHARE * max(len(groups), 1))
    return np.where(usable[inverse], groups, UNGROUPED)
