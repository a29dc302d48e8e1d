"""Uncentred PCA of unit vectors, accumulated page by page.

Uncentred, since centring turns most scores negative and a collection of one image into nothing; without whitening,
which hurts where objects have several views.
"""

import numpy as np
import numpy.typing as npt

from similis.catalog.projection import Matrix, normalised


class SecondMoment:
    """The sum of x xT over unit vectors x, float64 [dim, dim]: all that the PCA needs of any number of images."""

    def __init__(self, dim: int) -> None:
        self._sum: npt.NDArray[np.float64] = np.zeros((dim, dim), dtype=np.float64)

    def add(self, vectors: Matrix) -> None:
        """Takes in base vectors [n, dim]; they are brought to length 1 here."""
        unit = normalised(vectors)
        self._sum += (unit.T @ unit).astype(np.float64)

    def principal_directions(self, count: int) -> Matrix:
        """The `count` (at most dim) orthonormal directions [dim, count] of largest second moment, largest first.

        Well defined for one image and even for none; the sign of each makes its largest entry positive.
        """
        _, vectors = np.linalg.eigh(self._sum)
        directions = vectors[:, ::-1][:, :count]
        largest = np.abs(directions).argmax(axis=0)
        signs = np.sign(directions[largest, np.arange(directions.shape[1])])
        signed: Matrix = (directions * np.where(signs == 0, 1, signs)).astype(np.float32)
        return signed
