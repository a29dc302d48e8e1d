"""False matches: how often a query for something that is not in a collection scores as well as a result does.

The rate is the false-positive identification rate (FPIR) of ISO/IEC 19795-1: the share of queries without a match whose
best result reaches a threshold, here the result's own score. Trainer and gateway compute scores in the same way.

A score is compared in two ways: as it is, and by its prominence, which is what it exceeds the query's runner-ups by.
Where a collection has many images of a kind, every query of that kind scores high, and only a match is prominent. Score
normalisation by the other results of the same query is known as T-norm in biometrics (Auckenthaler et al., 2000).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atanh

from catalog.images import Image

# False match rates, ascending. An index stores the score and the prominence for each of these rates.
FALSE_MATCH_RATES = (
    *(1e-6, 1e-5, 1e-4, 3e-4, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08),
    *(0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0),
)
# The best objects after the first one whose scores say what a query finds anyway.
RUNNER_UPS = 3
# How much of the runner-ups' mean is subtracted. With all of it, noise would seem to match: it scores low everywhere.
RUNNER_UP_WEIGHT = 0.95
# A rate up to this one counts as rare.
RARE = 0.1
# A result is a match if it is rare by its prominence or by its score, and each of them adds to the false matches. So
# the rate of the score is raised by this factor.
SCORE_FACTOR = 4
# The share of a collection's images that are less typical of it than any query that prominence is used for, and the
# least rate of other queries whose scores are not rare.
ATYPICAL, ATYPICAL_RATE = 0.02, 0.9
# Keeps the Fisher transform finite.
LARGEST = 0.999999


@dataclass(frozen=True)
class FalseMatches:
    """The calibration of an index.

    scores, prominences: at FALSE_MATCH_RATES, falling; empty if the index has none. shared_repo_url: the repository URL
    of more than half of the images, which does not say what they show. least_typical: the typicality
    (`Projection.typicality`) that all but the share ATYPICAL of the images reach; None if unknown.
    """

    scores: Sequence[float] = ()
    prominences: Sequence[float] = ()
    shared_repo_url: str | None = None
    least_typical: float | None = None

    def __bool__(self) -> bool:
        return len(self.scores) == len(FALSE_MATCH_RATES)

    @property
    def knows_prominences(self) -> bool:
        """Whether `rate` uses runner-ups."""
        return len(self.prominences) == len(FALSE_MATCH_RATES)

    def runner_ups(self, found: Iterable[tuple[float, Image]]) -> list[float]:
        """Return the best scores of up to RUNNER_UPS objects after the first one.

        found: a query's scores, falling, each with an image that has it.
        """
        best: dict[str | int, float] = {}
        for score, image in found:
            named = image.repo_url and image.repo_url != self.shared_repo_url
            best.setdefault(image.repo_url if named else image.id, score)
        return list(best.values())[1 : 1 + RUNNER_UPS]

    def rate(self, score: float, runner_ups: Sequence[float], typicality: float | None = None) -> float | None:
        """Return the false match rate, 0 to 1, of a score; None without a calibration.

        runner_ups: the query's best scores of up to RUNNER_UPS objects after the first one. typicality: of the query;
        None if unknown.
        """
        if not self:
            return None
        by_score = _rate(score, self.scores)
        if not self.knows_prominences or not runner_ups:
            return by_score
        by_prominence = _rate(prominence(score, runner_ups), self.prominences)
        higher = max(by_prominence, by_score)
        if self._is_atypical(typicality):
            # The measured queries were images of the collection, so they say little about noise or a blank page.
            return 2 * by_score if 2 * by_score <= RARE else max(higher, ATYPICAL_RATE)
        lower = min(by_prominence, SCORE_FACTOR * by_score)
        # Rare in one of the two is rare enough. Otherwise noise must not profit from having no neighbours.
        return lower if lower <= RARE else higher

    def _is_atypical(self, typicality: float | None) -> bool:
        return typicality is not None and self.least_typical is not None and typicality < self.least_typical


NOT_CALIBRATED = FalseMatches()


def prominence(score: float, runner_ups: Sequence[float]) -> float:
    """Return what a score exceeds the query's runner-ups by, on the scale of Fisher's transform."""
    return fisher(score) - RUNNER_UP_WEIGHT * _level(tuple(runner_ups))


@lru_cache(maxsize=256)
def _level(runner_ups: tuple[float, ...]) -> float:
    """Return the mean of runner-ups on Fisher's scale. All results of a query ask for the same one."""
    return sum(map(fisher, runner_ups)) / len(runner_ups)


def fisher(score: float) -> float:
    """Return Fisher's transform of a cosine similarity, whose best values are distributed nearly normally."""
    return atanh(min(max(score, -LARGEST), LARGEST))


def _rate(value: float, limits: Sequence[float]) -> float:
    """Return the rate of a value between `limits`, which fall as the rates rise."""
    if value >= limits[0]:
        return 0.0
    if value <= limits[-1]:
        return 1.0
    below = next(place for place, limit in enumerate(limits) if value >= limit)
    high, low = limits[below - 1], limits[below]
    share = (value - low) / (high - low) if high > low else 1.0
    rate = FALSE_MATCH_RATES[below] + share * (FALSE_MATCH_RATES[below - 1] - FALSE_MATCH_RATES[below])
    return round(rate, 6)
