"""The training set: a bounded sample of a collection's base vectors, groups and views."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
# Half precision is enough for unit vectors, and takes half of the memory.
UnitVectors = npt.NDArray[np.float16] | Matrix
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A group with a larger share of the collection than this is not treated as an object.
MAX_GROUP_SHARE = 0.5
UNGROUPED = -1
# With fewer images than this no evaluation is possible, so no adapter is trained.
MIN_IMAGES = 40


@dataclass(frozen=True)
class EarlierHead:
    """A head [dim, d] from an earlier finetune. fresh: bool [n], the images that it was not trained on."""

    head: Matrix
    fresh: Mask


@dataclass(frozen=True)
class TrainingSet:
    """A sample of n images.

    vectors: [n, dim], the unit base vectors. groups: int64 [n]; images with the same number show the same object, and
    the object of an UNGROUPED image is unknown. views: [m, v, dim], the unit vectors of v augmented views of m of the
    images. viewed: int64 [m], which images those are. pictures: int64 [n]; images with the same number are equal or
    nearly equal.
    """

    vectors: UnitVectors
    groups: Labels
    views: UnitVectors
    viewed: Labels
    pictures: Labels

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def grouped(self) -> float:
        """The share of the images, 0 to 1, that have a group."""
        return float((self.groups != UNGROUPED).mean()) if len(self) else 0.0

    @property
    def known_groups(self) -> Labels:
        """The groups of which it has an image, ascending."""
        return np.setdiff1d(self.groups, [UNGROUPED])

    def with_groups(self, groups: Labels) -> "TrainingSet":
        """Return the same images with other groups."""
        return replace(self, groups=groups)

    def ungrouped(self) -> "TrainingSet":
        """Return the same images without any group."""
        return self.with_groups(np.full(len(self), UNGROUPED, dtype=np.int64))

    def without_view(self, view: int) -> "TrainingSet":
        """Return the set without one view of each image, given by its number. The only view of an image is kept."""
        return replace(self, views=np.delete(self.views, view, axis=1)) if self.views.shape[1] > 1 else self

    def without(self, images: Mask) -> "TrainingSet":
        """Return the set without `images`, bool [n], and their views."""
        position = np.cumsum(~images) - 1
        kept = ~images[self.viewed]
        return TrainingSet(
            self.vectors[~images],
            self.groups[~images],
            self.views[kept],
            position[self.viewed[kept]].astype(np.int64),
            self.pictures[~images],
        )


def usable_groups(groups: Labels) -> Labels:
    """Return the groups [n]. UNGROUPED replaces those of one image and the one that spans most of the collection."""
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    usable = (names != UNGROUPED) & (counts > 1) & (counts <= MAX_GROUP_SHARE * max(len(groups), 1))
    return np.where(usable[inverse], groups, UNGROUPED)
