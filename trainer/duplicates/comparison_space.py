"""The comparison space: where copies of an image are closer to it than other pictures of the same motif.

In the frozen space, what all images of a collection have in common dominates the similarity. In the tuned space, images
of one kind are pulled together, whether they are copies or not. This space is made from the collection, too, but for
copies: directions in which an image differs from its augmented views count little (within-class covariance
normalisation; Hatch, Kajarekar and Stolcke, 2006), and those in which all images differ are mildly whitened.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.vectors.projection import Matrix, normalised

Doubles = npt.NDArray[np.float64]

# Each direction is scaled by the variance of the views to the power of -VIEW_WHITENING, then by the variance of the
# images to the power of -WHITENING.
VIEW_WHITENING, WHITENING = 0.5, 0.125
# A small sample says little about its mean: as if it had so many more images at the origin.
ORIGINS = 4.0
# It says less about variances: as if those of so many images and views, and a share of the others, were the same in all
# directions.
EVEN_IMAGES, EVEN_VIEWS, EVEN_SHARE = 20.0, 100.0, 0.1


@dataclass(frozen=True)
class ComparisonSpace:
    """A map of base vectors. mean: [dim], matrix: [dim, dim]."""

    mean: Matrix
    matrix: Matrix

    @classmethod
    def of(cls, sample: Matrix, shown: Sequence[Matrix], views: Sequence[Matrix]) -> "ComparisonSpace":
        """Return the space for a collection.

        sample: base vectors [n, dim] of some of its images. views: parts of the augmented views [m, v, dim] of the
        images whose base vectors are in the same parts of `shown`, [m, dim]. There may be none.
        """
        unit = normalised(sample)
        dim = unit.shape[1]
        mean: Matrix = unit.sum(axis=0) / np.float32(len(unit) + ORIGINS)
        unit -= mean
        flat = _view_whitening(shown, views, dim)
        moment = flat.T @ (unit.T @ unit).astype(np.float64) @ flat
        matrix = flat @ _whitening(moment, EVEN_IMAGES / len(unit), WHITENING)
        return cls(mean, np.ascontiguousarray(matrix, dtype=np.float32))

    def apply(self, vectors: Matrix) -> Matrix:
        """Map base vectors [n, dim] to unit vectors [n, dim]."""
        centred: Matrix = np.subtract(normalised(vectors), self.mean)
        return normalised(centred @ self.matrix)


def _view_whitening(shown: Sequence[Matrix], views: Sequence[Matrix], dim: int) -> Doubles:
    moment, count = np.zeros((dim, dim)), 0
    for images, some in zip(shown, views, strict=True):
        changes = (normalised(some) - normalised(images)[:, np.newaxis]).reshape(-1, dim)
        moment += changes.T @ changes
        count += len(changes)
    return _whitening(moment, EVEN_SHARE + EVEN_VIEWS / count, VIEW_WHITENING) if count else np.eye(dim)


def _whitening(moment: Doubles, even: float, power: float) -> Doubles:
    """Return the principal directions [dim, dim], scaled by the variance along them to the power of -`power`.

    moment: the second moment, of any scale. even: what is added to the variance in every direction, as a multiple of
    the mean variance.
    """
    mean = np.trace(moment) / len(moment)
    if mean <= 0:
        return np.eye(len(moment))
    values, directions = np.linalg.eigh(moment / mean)
    scaled: Doubles = directions * (np.maximum(values, 0.0) + even) ** -power
    return scaled
