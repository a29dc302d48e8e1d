"""Evaluation: how well several spaces retrieve the images of held-out queries."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import Matrix, UnitVectors
from trainer.learning.holdout import ENTRIES, GROUPS_SEEN, GROUPS_UNSEEN, VIEWS, Holdout
from trainer.learning.retrieval import PerQuery, Retrieval, rank, score_histogram

# What an adapter should improve, by query set. A search for an entry should find any image of it first.
OBJECTIVES = {VIEWS: "map", ENTRIES: "reciprocal_rank", GROUPS_SEEN: "map", GROUPS_UNSEEN: "map"}
# A query set of which less than this is missing, or fewer queries than this, counts as if so much were. The share of a
# few misses is chance.
MIN_MISSING, MIN_MISSED = 0.05, 20

# By the name of the query set.
Results = dict[str, Retrieval]


class Evaluation:
    """The retrieval results of several named spaces on the held-out queries of all folds."""

    def __init__(self, grouped: float) -> None:
        """grouped: the share, 0 to 1, of the images that have a group. It is the weight of queries about groups."""
        self._results: dict[str, dict[str, list[Retrieval]]] = defaultdict(lambda: defaultdict(list))
        self._grouped = grouped

    def add(self, holdout: Holdout, space: str, projection: Matrix | None) -> None:
        """Run the queries of one fold in the space of a projection [dim, d], or in the frozen space (None)."""
        gallery = _projected(holdout.gallery, projection)
        for query_set in holdout.query_sets:
            queries = _projected(query_set.vectors, projection)
            found = rank(queries, gallery, query_set.relevant, query_set.excluded)
            self._results[space][query_set.name].append(found)

    def results(self, space: str) -> Results:
        """Return the results of a space by query set."""
        return {name: Retrieval.join(folds) for name, folds in self._results[space].items()}

    def gain(self, candidate: str, baseline: str, query_sets: Iterable[str]) -> tuple[float, float]:
        """Return what a candidate gains over a baseline in some query sets, and the gain's standard error.

        The gain is the share, at most 1, of what the baseline misses (1 - mAP) that the candidate finds. So a question
        that is nearly always answered counts as much as one that is hard to answer.
        """
        asked = [name for name in query_sets if name in OBJECTIVES]
        before, after = ({name: self._objective(space, name) for name in asked} for space in (baseline, candidate))
        missing = {name: _missing(found) for name, found in before.items()}
        return self._mean({name: (after[name] - before[name]) / missing[name] for name in asked})

    def change(self, candidate: str, baseline: str, query_sets: Iterable[str]) -> tuple[float, float]:
        """Return the change of mAP over some query sets, without that for entries, and its standard error.

        It weights each query alike, so it has less noise than the gain where little is missing in one query set.
        """
        asked = [name for name in query_sets if name in OBJECTIVES and name != ENTRIES]
        return self._mean({name: self._objective(candidate, name) - self._objective(baseline, name) for name in asked})

    def _objective(self, space: str, name: str) -> PerQuery:
        return self.results(space)[name].metrics()[OBJECTIVES[name]]

    def _mean(self, changes: dict[str, PerQuery]) -> tuple[float, float]:
        """Return the weighted mean of the changes [q] by query set, and its standard error."""
        weights = self._weights(list(changes))
        mean = sum(weights[name] * float(change.mean()) for name, change in changes.items())
        variance = sum(weights[name] ** 2 * float(change.var()) / len(change) for name, change in changes.items())
        return mean, variance**0.5

    def _weights(self, names: list[str]) -> dict[str, float]:
        """Return the weight of each query set in the gain.

        Views weigh as much as groups. Seen and unseen groups share their weight by how many images have a group, and
        views that look for their entry weigh as much as seen groups. Neighbourhoods are a constraint and no objective,
        so they have no weight.
        """
        share = {VIEWS: 1.0, ENTRIES: self._grouped, GROUPS_SEEN: self._grouped, GROUPS_UNSEEN: 1 - self._grouped}
        weights = {name: share.get(name, 0.0) for name in names}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items()} if total else dict.fromkeys(names, 0.0)

    def summary(self, *baselines: str, candidate: str) -> dict[str, dict[str, object]]:
        """Return each query set's size and the metrics of each space in it. The candidate is called "adapter".

        All spaces but the frozen one have the distribution of the best relevant scores too.
        """
        spaces = {**{space: self.results(space) for space in baselines}, "adapter": self.results(candidate)}
        return {
            name: {
                "queries": len(result.average_precision),
                **{space: _described(results[name], scored=space != "frozen") for space, results in spaces.items()},
            }
            for name, result in spaces["adapter"].items()
        }


def _missing(found: PerQuery) -> float:
    """Return how much is missing in a query set, and at least so much that its share is not left to chance."""
    return max(1 - float(found.mean()), MIN_MISSING, min(MIN_MISSED / len(found), 1.0))


def _projected(vectors: UnitVectors, projection: Matrix | None) -> Matrix:
    unit = vectors.astype(np.float32)
    return normalised(unit if projection is None else unit @ projection)


def _described(found: Retrieval, *, scored: bool) -> dict[str, object]:
    means: dict[str, object] = dict(found.means())
    return means | {"scores": score_histogram(found.best_score)} if scored else means
