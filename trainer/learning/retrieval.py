"""Retrieval metrics: recall@k and mAP of queries against a gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from trainer.learning.dataset import Labels, Matrix

DEPTH = 10
QUERY_BLOCK = 64
# Up to this many relevant images, counting the rank of each is faster than sorting.
COUNTED = 12
# So many relevant images are few, as in a small entry.
FEW = 7
# The metrics that are shown.
SHOWN = ("map", "map_at_10", "recall_at_1", "recall_at_10")
# The score of images that are excluded from a ranking: below every cosine.
EXCLUDED = -2.0
# How finely a distribution of scores is stored.
BINS = 40

PerQuery = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
NONE: Labels = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Retrieval:
    """The metrics of each query.

    average_precision, average_precision_at_10. recall_at_1, recall_at_10: whether a relevant image is among the first 1
    or 10 hits. found_at_10: the share of the relevant images that are, if there are at most FEW of them; otherwise
    equal to recall_at_10. If two relevant images come closer to each other, a query more often finds both or neither.
    That lowers recall_at_10, although each of them is found as often as before. best_score: of the relevant images.
    reciprocal_rank: of the best of them. A query without one has 0 everywhere. relevant: how many relevant images there
    are.
    """

    average_precision: PerQuery
    average_precision_at_10: PerQuery
    recall_at_1: PerQuery
    recall_at_10: PerQuery
    best_score: PerQuery
    found_at_10: PerQuery
    reciprocal_rank: PerQuery
    relevant: PerQuery

    @classmethod
    def join(cls, several: "Sequence[Retrieval]") -> "Retrieval":
        """Return the queries of several retrievals as one."""
        joined = (np.concatenate([getattr(each, field.name) for each in several]) for field in fields(cls))
        return cls(*joined)

    def metrics(self) -> dict[str, PerQuery]:
        """Return all metrics by name, as one value per query."""
        return {
            "map": self.average_precision,
            "map_at_10": self.average_precision_at_10,
            "recall_at_1": self.recall_at_1,
            "recall_at_10": self.recall_at_10,
            "found_at_10": self.found_at_10,
            "reciprocal_rank": self.reciprocal_rank,
        }

    def means(self) -> dict[str, float]:
        """Return mAP, mAP@10, recall@1 and recall@10, averaged over the queries."""
        return {metric: round(float(values.mean()), 4) for metric, values in self.metrics().items() if metric in SHOWN}


def retrieve(queries: Matrix, query_labels: Labels, gallery: Matrix, gallery_labels: Labels) -> Retrieval:
    """Rank the gallery for each query by cosine similarity. Images with the query's label are relevant.

    queries: unit vectors [q, d] with labels [q]; gallery: unit vectors [n, d] with labels [n].
    """
    relevant = [np.flatnonzero(gallery_labels == label) for label in query_labels]
    return rank(queries, gallery, relevant, [NONE] * len(queries))


def rank(queries: Matrix, gallery: Matrix, relevant: Sequence[Labels], excluded: Sequence[Labels]) -> Retrieval:
    """Rank the gallery for each query by cosine similarity.

    queries: unit vectors [q, d]; gallery: unit vectors [n, d]; relevant, excluded: for each query the positions of the
    relevant images in the gallery, and of those that are left out of the ranking. Average precision at 10 is divided by
    min(number of relevant images, 10), so that 1 can be reached.
    """
    rows = []
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK] @ gallery.T
        for number, scores in enumerate(block, start):
            rows.append(_metrics(scores, relevant[number], excluded[number]))
    return Retrieval(*np.array(rows, dtype=np.float64).reshape(-1, len(fields(Retrieval))).T)


def _metrics(scores: Scores, relevant: Labels, excluded: Labels) -> tuple[float, ...]:
    """Return the metrics of one query, in the order of the fields of `Retrieval`. `scores` is overwritten.

    Only the ranks of the relevant images are computed, because sorting the whole ranking takes ten times as long. Among
    equal scores, the relevant image comes last.
    """
    found = np.sort(scores[relevant])[::-1]
    if not len(found):
        return (0.0,) * len(fields(Retrieval))
    scores[relevant] = EXCLUDED
    scores[excluded] = EXCLUDED
    if len(found) <= COUNTED:
        ahead = np.array([np.count_nonzero(scores >= score) for score in found])
    else:
        ahead = len(scores) - np.searchsorted(np.sort(scores), found, side="left")
    number = np.arange(1, len(found) + 1)
    ranks = ahead + number
    precision = number / ranks
    at_depth = precision[ranks <= DEPTH].sum() / min(len(found), DEPTH)
    recall = float(ranks[0] <= DEPTH)
    share = float((ranks <= DEPTH).mean()) if len(found) <= FEW else recall
    return (
        precision.mean(),
        at_depth,
        float(ranks[0] == 1),
        recall,
        float(found[0]),
        share,
        1 / float(ranks[0]),
        len(found),
    )


def score_histogram(scores: Sequence[float] | npt.NDArray[np.float64]) -> list[float]:
    """Return the share of the scores in each of BINS equal parts of 0 to 1. Empty without scores.

    Scores below 0 count in the first part, because they say no more than 0: the images are not alike.
    """
    if not len(scores):
        return []
    counts, _ = np.histogram(np.clip(scores, 0.0, 1.0), bins=BINS, range=(0.0, 1.0))
    return [round(float(count) / len(scores), 4) for count in counts]
