"""Model selection: choose the interpolation weight on the held-out queries."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from catalog.vectors.false_matches import RUNNER_UPS
from trainer.learning.acceptance import Decision, decide_adoption
from trainer.learning.dataset import Matrix
from trainer.learning.directions import directions_of
from trainer.learning.evaluation import Evaluation
from trainer.learning.head import Hyperparameters, Progress, train_head
from trainer.learning.holdout import LARGE, Holdout

# Weights of the trained head in an interpolation with the head that the training started from. Large weights favour the
# training data, small ones all other images (WiSE-FT: Wortsman et al., 2022, "Robust fine-tuning of zero-shot models").
MIXES = (1.0, 0.85, 0.7, 0.5, 0.25)


@dataclass(frozen=True)
class Candidate:
    """An interpolated head: the weight of the trained head in it, 0 to 1, and the gate's decision on it."""

    decision: Decision
    mix: float


@dataclass(frozen=True)
class Fold:
    """A split, and the baseline heads by name. The training starts from the last of them."""

    holdout: Holdout
    baselines: dict[str, Matrix]

    @classmethod
    def of(cls, holdout: Holdout, pca: Matrix, kept: Matrix | None) -> "Fold":
        """Return a fold with the PCA and, if there is one, the earlier head as its baselines."""
        # A PCA of few images overfits to them, so it must not contain the held-out images.
        if len(holdout.training) < LARGE:
            pca = directions_of(holdout.training, pca.shape[1])
        return cls(holdout, {"pca": pca} if kept is None else {"pca": pca, "kept": kept})

    @property
    def start(self) -> Matrix:
        """The head that the training starts from."""
        return [*self.baselines.values()][-1]


class ModelSelection:
    """Trains on the folds and evaluates the heads on their held-out queries."""

    def __init__(self, grouped: float, splits: list[Fold], parameters: Hyperparameters) -> None:
        """grouped: the share, 0 to 1, of the images that have a group."""
        self._evaluation = Evaluation(grouped)
        self._splits = splits
        self._parameters = parameters
        # One for each fold.
        self._heads: list[Matrix] = []

    def best(self, progress: Iterator[Progress]) -> Candidate:
        """Return the best candidate. progress: one receiver, of the share done, for each training run."""
        for fold in self._splits:
            self._evaluation.add(fold.holdout, "frozen", None)
            for name, head in fold.baselines.items():
                self._evaluation.add(fold.holdout, name, head)
            head = train_head(fold.holdout.training, fold.start, self._parameters, next(progress))
            self._heads.append(head)
            for mix in MIXES:
                self._evaluation.add(fold.holdout, _space(mix), interpolated(fold.start, head, mix))
        return reduce(lambda first, second: second if second.decision.beats(first.decision) else first, self._all())

    def strangers(self, candidate: Candidate) -> tuple[Matrix, int]:
        """Return the scores [q, 1 + RUNNER_UPS] of the best objects for each stranger, and the size of the gallery.

        They are measured in the candidate's space if it was adopted, otherwise in the one that the training started
        from.
        """
        mix = candidate.mix if candidate.decision.adopted else 0.0
        scores = [
            fold.holdout.strangers.best_scores(interpolated(fold.start, head, mix), 1 + RUNNER_UPS)
            for fold, head in zip(self._splits, self._heads, strict=True)
        ]
        return np.concatenate(scores), len(self._splits[0].holdout.strangers.gallery)

    def _all(self) -> Iterator[Candidate]:
        baselines = list(self._splits[0].baselines)
        for mix in MIXES:
            yield Candidate(decide_adoption(self._evaluation, _space(mix), baselines), mix)


def interpolated(start: Matrix, head: Matrix, mix: float) -> Matrix:
    """Return the weighted mean of two heads. mix: the weight of `head`, 0 to 1."""
    return (1 - mix) * start + mix * head


def _space(mix: float) -> str:
    return f"mix {mix}"
