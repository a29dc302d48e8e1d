"""How well a space retrieves: recall@k and mAP@k over queries, as the field measures them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from trainer.learning.dataset import Labels, Mask, Matrix

DEPTH = 10
QUERY_BLOCK = 64

Figures = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Retrieval:
    """For each query: average precision, over all and at 10, and whether one of the first 1 or 10 is right."""

    average_precision: Figures
    average_precision_at_10: Figures
    recall_at_1: Figures
    recall_at_10: Figures

    @classmethod
    def join(cls, several: "Sequence[Retrieval]") -> "Retrieval":
        """One of the queries of several."""
        joined = (np.concatenate([getattr(each, field.name) for each in several]) for field in fields(cls))
        return cls(*joined)

    def figures(self) -> dict[str, Figures]:
        """What each query gives to mAP, mAP@10, recall@1 and recall@10."""
        return {
            "map": self.average_precision,
            "map_at_10": self.average_precision_at_10,
            "recall_at_1": self.recall_at_1,
            "recall_at_10": self.recall_at_10,
        }

    def means(self) -> dict[str, float]:
        """mAP, mAP@10, recall@1 and recall@10 over the queries."""
        return {metric: round(float(values.mean()), 4) for metric, values in self.figures().items()}


def retrieve(queries: Matrix, answers: Labels, database: Matrix, labels: Labels) -> Retrieval:
    """Ranks the database for each query by cosine similarity.

    queries: unit vectors [q, d]; answers: the label [q] that is right for each; database: unit vectors [n, d] with
    labels [n]. Average precision at 10 is divided by min(number of right ones, 10), so that 1 can be reached.
    """
    blocks = [
        _rank(queries[start : start + QUERY_BLOCK], answers[start : start + QUERY_BLOCK], database, labels)
        for start in range(0, len(queries), QUERY_BLOCK)
    ]
    return Retrieval.join(blocks)


def _rank(queries: Matrix, answers: Labels, database: Matrix, labels: Labels) -> Retrieval:
    scores = queries @ database.T
    figures = [_figures(row, labels == answer) for row, answer in zip(scores, answers, strict=True)]
    return Retrieval(*np.array(figures, dtype=np.float64).T)


def _figures(scores: Scores, right: Mask) -> tuple[float, float, float, float]:
    """Average precision, the same at 10, and recall at 1 and at 10 of one query.

    Only the places of the right ones are looked up, among the sorted scores of the others: a whole ranking costs ten
    times as much. Of equal scores the right one comes last.
    """
    found = np.sort(scores[right])[::-1]
    if not len(found):
        return 0.0, 0.0, 0.0, 0.0
    others = np.sort(scores[~right])
    ahead = len(others) - np.searchsorted(others, found, side="left")
    number = np.arange(1, len(found) + 1)
    places = ahead + number
    precision = number / places
    at_depth = precision[places <= DEPTH].sum() / min(len(found), DEPTH)
    return precision.mean(), at_depth, float(places[0] == 1), float(places[0] <= DEPTH)
