"""From a training set to a head: train with some of it held out, ask, decide, and train on all of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from similis.catalog.projection import Matrix
from similis.trainer.learning.gate import Examination, Verdict, judge
from similis.trainer.learning.head import Hyperparameters, checkpoints, train_head
from similis.trainer.learning.holdout import Holdout, folds
from similis.trainer.learning.training_set import MIN_IMAGES, TrainingSet

# How firmly unlabelled images are held to the frozen space: the second is for where the first does harm.
PULL_WEIGHTS = (1500.0, 6000.0)


@dataclass(frozen=True)
class Learned:
    """The head [r, d] to use, and the gate's verdict that led to it.

    steps: until it stopped, 0 for the PCA. parameters: that it was trained with, or that were tried last.
    """

    head: Matrix
    verdict: Verdict
    steps: int
    parameters: Hyperparameters

    def quality(self) -> str:
        """As JSON: kept with the index, shown by `info`."""
        verdict = self.verdict
        return json.dumps(
            {
                "adapter": "learned" if verdict.adopted else "pca",
                "reason": verdict.reason,
                "steps": self.steps,
                "parts": verdict.parts,
                "hyperparameters": self.parameters.as_dict(),
            }
        )


def learn(
    data: TrainingSet, start: Matrix, dim: int, parameters: Hyperparameters, progress: Callable[[float], None]
) -> Learned:
    """Trains a head and has it judged; where it is refused, the PCA is what comes back.

    The vectors are in the basis of the PCA, so the PCA to `dim` dimensions is the first columns of the identity.
    start: the head [r, dim] to go on from, the PCA or that of an earlier finetune. progress: called with the share
    done, 0 to 1. The number of steps is the best one on what is held out (early stopping); where every number of steps
    does harm, a firmer pull to the frozen space is tried.
    """
    pca = np.eye(data.vectors.shape[1], dim, dtype=np.float32)
    verdict = Verdict(False, f"there are fewer than {MIN_IMAGES} images", 0.0, {})
    if len(data) < MIN_IMAGES:
        return Learned(pca, verdict, 0, parameters)
    splits = list(folds(data, parameters.seed))
    share = 1 / (len(PULL_WEIGHTS) * len(splits) + 1)
    for number, weight in enumerate(PULL_WEIGHTS):
        firmer = replace(parameters, pull_weight=weight)
        base = number * len(splits) * share
        verdict, step = _examine(splits, start, pca, firmer, _scaled(progress, base, len(splits) * share))
        if verdict.adopted:
            head = train_head(data, start, firmer, _until(step, _scaled(progress, 1 - share, share)))
            return Learned(head, verdict, step, firmer)
    return Learned(pca, verdict, 0, replace(parameters, pull_weight=PULL_WEIGHTS[-1]))


def _examine(
    splits: list[Holdout], start: Matrix, pca: Matrix, parameters: Hyperparameters, progress: Callable[[float], None]
) -> tuple[Verdict, int]:
    """Trains on each split, and gives the verdict on the best number of steps: one that passes, if there is one."""
    examination = Examination()
    for number, holdout in enumerate(splits):
        examination.ask(holdout, "frozen", None)
        examination.ask(holdout, "pca", pca)

        def ask(step: int, head: Matrix, number: int = number) -> bool:
            examination.ask(splits[number], str(step), head)
            progress((number + step / parameters.steps) / len(splits))
            return True

        train_head(holdout.training, start, parameters, ask)
    verdicts = [(judge(examination, str(step)), step) for step in checkpoints(parameters.steps)]
    return max(verdicts, key=lambda found: (found[0].adopted, found[0].gain))


def _until(last: int, progress: Callable[[float], None]) -> Callable[[int, Matrix], bool]:
    def observe(step: int, _: Matrix) -> bool:
        progress(step / last)
        return step < last

    return observe


def _scaled(progress: Callable[[float], None], base: float, share: float) -> Callable[[float], None]:
    return lambda done: progress(base + share * done)
