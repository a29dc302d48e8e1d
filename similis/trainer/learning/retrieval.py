"""How well a space retrieves: recall@k and mAP@k over queries, as the field measures them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from similis.trainer.learning.training_set import Labels, Matrix

DEPTH = 10
QUERY_BLOCK = 64

Figures = npt.NDArray[np.float64]


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
    order = np.argsort(-(queries @ database.T), axis=1, kind="stable")
    right = labels[order] == answers[:, None]
    precision = right * np.cumsum(right, axis=1) / np.arange(1, len(database) + 1)
    possible = np.maximum(right.sum(axis=1), 1)
    first = right[:, :DEPTH]
    return Retrieval(
        precision.sum(axis=1) / possible,
        precision[:, :DEPTH].sum(axis=1) / np.minimum(possible, DEPTH),
        first[:, 0].astype(np.float64),
        np.asarray(first.any(axis=1), dtype=np.float64),
    )
