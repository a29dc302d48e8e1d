"""Evaluation: how well several spaces retrieve the images of held-out queries."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import Matrix, UnitVectors
from trainer.learning.holdout import GROUPS_SEEN, GROUPS_UNSEEN, VIEWS, Holdout
from trainer.learning.retrieval import Retrieval, rank, score_histogram

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
        """Return the change of mAP from `baseline` to `candidate` over some query sets, and its standard error."""
        before, after = self.results(baseline), self.results(candidate)
        changes = {name: after[name].average_precision - before[name].average_precision for name in query_sets}
        weights = self._weights(list(changes))
        mean = sum(weights[name] * float(change.mean()) for name, change in changes.items())
        variance = sum(weights[name] ** 2 * float(change.var()) / len(change) for name, change in changes.items())
        return mean, variance**0.5

    def _weights(self, names: list[str]) -> dict[str, float]:
        """Return the weight of each query set in the gain.

        Views weigh as much as groups. Seen and unseen groups share their weight by how many images have a group.
        Neighbourhoods are a constraint and no objective, so they have no weight.
        """
        share = {VIEWS: 1.0, GROUPS_SEEN: self._grouped, GROUPS_UNSEEN: 1 - self._grouped}
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


def _projected(vectors: UnitVectors, projection: Matrix | None) -> Matrix:
    unit = vectors.astype(np.float32)
    return normalised(unit if projection is None else unit @ projection)


def _described(found: Retrieval, *, scored: bool) -> dict[str, object]:
    means: dict[str, object] = dict(found.means())
    return means | {"scores": score_histogram(found.best_score)} if scored else means
