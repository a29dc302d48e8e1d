"""How well a space retrieves: recall@k and mAP over queries."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from trainer.learning.dataset import Labels, Matrix

DEPTH = 10
QUERY_BLOCK = 64
# Up to this many correct images, counting the rank of each is faster than sorting.
FEW = 12
# Below every cosine.
LEFT_OUT = -2.0

Figures = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
NONE: Labels = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Retrieval:
    """For each query: average precision, average precision at 10, and whether the first 1 or 10 hits are correct."""

    average_precision: Figures
    average_precision_at_10: Figures
    recall_at_1: Figures
    recall_at_10: Figures

    @classmethod
    def join(cls, several: "Sequence[Retrieval]") -> "Retrieval":
        """Return the queries of several retrievals as one."""
        joined = (np.concatenate([getattr(each, field.name) for each in several]) for field in fields(cls))
        return cls(*joined)

    def figures(self) -> dict[str, Figures]:
        """Return each query's part of mAP, mAP@10, recall@1 and recall@10."""
        return {
            "map": self.average_precision,
            "map_at_10": self.average_precision_at_10,
            "recall_at_1": self.recall_at_1,
            "recall_at_10": self.recall_at_10,
        }

    def means(self) -> dict[str, float]:
        """Return mAP, mAP@10, recall@1 and recall@10 over the queries."""
        return {metric: round(float(values.mean()), 4) for metric, values in self.figures().items()}


def retrieve(queries: Matrix, answers: Labels, database: Matrix, labels: Labels) -> Retrieval:
    """Rank the database for each query by cosine similarity, where images with the query's label are correct.

    queries: unit vectors [q, d]; answers: the right label [q] for each; database: unit vectors [n, d] with labels [n].
    """
    right = [np.flatnonzero(labels == answer) for answer in answers]
    return rank(queries, database, right, [NONE] * len(queries))


def rank(queries: Matrix, database: Matrix, right: Sequence[Labels], ignored: Sequence[Labels]) -> Retrieval:
    """Rank the database for each query by cosine similarity.

    queries: unit vectors [q, d]; database: unit vectors [n, d]; right, ignored: for each query the positions in the
    database that are right, and those that are left out of the ranking. Average precision at 10 is divided by
    min(number of right ones, 10), so that 1 can be reached.
    """
    figures = []
    for start in range(0, len(queries), QUERY_BLOCK):
        scores = queries[start : start + QUERY_BLOCK] @ database.T
        for row, found in enumerate(scores):
            number = start + row
            figures.append(_figures(found, right[number], ignored[number]))
    return Retrieval(*np.array(figures, dtype=np.float64).reshape(-1, len(fields(Retrieval))).T)


def _figures(scores: Scores, right: Labels, ignored: Labels) -> tuple[float, float, float, float]:
    """Return AP, AP@10, recall@1 and recall@10 of one query. `scores` is overwritten.

    Only the ranks of the correct images are computed, because sorting the whole ranking takes ten times as long. Among
    equal scores, the correct image comes last.
    """
    found = np.sort(scores[right])[::-1]
    if not len(found):
        return 0.0, 0.0, 0.0, 0.0
    scores[right] = LEFT_OUT
    scores[ignored] = LEFT_OUT
    if len(found) <= FEW:
        ahead = np.array([np.count_nonzero(scores >= score) for score in found])
    else:
        ahead = len(scores) - np.searchsorted(np.sort(scores), found, side="left")
    number = np.arange(1, len(found) + 1)
    places = ahead + number
    precision = number / places
    at_depth = precision[places <= DEPTH].sum() / min(len(found), DEPTH)
    return precision.mean(), at_depth, float(places[0] == 1), float(places[0] <= DEPTH)
