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
        even = EVEN_IMAGES / len(unit)
        if _is_few(len(unit), dim):
            matrix = _scaled(flat, unit.astype(np.float64) @ flat, even, WHITENING)
        else:
            moment = flat.T @ (unit.T @ unit).astype(np.float64) @ flat
            matrix = flat @ _whitening(moment, even, WHITENING)
        return cls(mean, np.ascontiguousarray(matrix, dtype=np.float32))

    def apply(self, vectors: Matrix) -> Matrix:
        """Map base vectors [n, dim] to unit vectors [n, dim]."""
        centred: Matrix = np.subtract(normalised(vectors), self.mean)
        return normalised(centred @ self.matrix)


def _view_whitening(shown: Sequence[Matrix], views: Sequence[Matrix], dim: int) -> Doubles:
    count = sum(part.shape[0] * part.shape[1] for part in views)
    if not count:
        return np.eye(dim)
    even = EVEN_SHARE + EVEN_VIEWS / count
    changes = (
        (normalised(some) - normalised(images)[:, np.newaxis]) for images, some in zip(shown, views, strict=True)
    )
    rows = (part.reshape(-1, dim) for part in changes)
    if _is_few(count, dim):
        return _scaled(np.eye(dim), np.concatenate(list(rows)).astype(np.float64), even, VIEW_WHITENING)
    moment = np.zeros((dim, dim))
    for part in rows:
        moment += part.T @ part
    return _whitening(moment, even, VIEW_WHITENING)


def _is_few(rows: int, dim: int) -> bool:
    """Return whether the principal directions of so many rows are cheaper to find from the rows than their moment."""
    return 2 * rows < dim


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


def _scaled(matrix: Doubles, rows: Doubles, even: float, power: float) -> Doubles:
    """Return matrix [n, dim] times the whitening of the moment of a few rows [m, dim].

    It is that of `_whitening` up to a rotation: in every direction that no row has, the variance is `even`.
    """
    gram = rows @ rows.T
    mean = np.trace(gram) / rows.shape[1]
    if mean <= 0:
        return matrix
    values, combinations = np.linalg.eigh(gram / mean)
    has_variance = values > len(values) * np.finfo(np.float64).eps * values[-1]
    values, combinations = values[has_variance], combinations[:, has_variance]
    directions = rows.T @ combinations / np.sqrt(values * mean)
    rest = even**-power
    scaled: Doubles = matrix * rest + (matrix @ directions * ((values + even) ** -power - rest)) @ directions.T
    return scaled
