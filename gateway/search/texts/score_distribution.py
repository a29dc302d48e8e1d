"""The scores of a query with a sample of a collection's images, and what a score means among them.

A text's cosine similarities with images are low, and their level differs from text to text. So a score is compared with
the scores of the same query, which is known as T-norm in biometrics (Auckenthaler et al., 2000).
"""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
Percentiles = npt.NDArray[np.float64]

# The share of the highest scores that an exponential distribution is fitted to, and the least sample for that. So
# images that score higher than nearly all of the sample differ in their percentiles, too.
TAIL, LEAST_FOR_TAIL = 0.1, 50
# How far rounding to float32 can move the score of an image.
ROUNDING = 1e-6


class ScoreDistribution:
    """The distribution of the scores of one query."""

    def __init__(self, scores: Scores) -> None:
        """scores: of the query with a sample of the images [n], in any order."""
        self._scores = np.sort(scores.astype(np.float64))
        self._tail_start = self._tail_scale = np.inf
        if len(scores) >= LEAST_FOR_TAIL:
            start = float(np.quantile(self._scores, 1 - TAIL))
            excess = self._scores[self._scores > start] - start
            if len(excess):
                self._tail_start, self._tail_scale = start, float(excess.mean())

    def percentiles(self, of: Scores) -> Percentiles:
        """Return the percentages [n] of other images that score lower, 0 to 100, not rounded. of: the scores [n]."""
        scores = of.astype(np.float64)
        others = max(len(self._scores) - 1, 1)
        below = np.searchsorted(self._scores, scores - ROUNDING) / others
        in_tail = scores > self._tail_start
        shares = np.minimum(below, np.where(np.isfinite(self._tail_start), 1 - TAIL, 1.0))
        excess = np.where(in_tail, scores - self._tail_start, 0.0)
        return 100 * np.where(in_tail, 1 - TAIL * np.exp(-excess / self._tail_scale), shares)

    def percentile(self, score: float) -> float:
        """Return the percentage of other images that score lower, rounded as clients get it."""
        return round(float(self.percentiles(np.array([score], np.float32))[0]), 1)


class FusedScale:
    """The scale of fused results, whose score is their percentile as a share."""

    def percentile(self, score: float) -> float:
        """Return the percentile that a score stands for."""
        return round(100 * score, 1)
