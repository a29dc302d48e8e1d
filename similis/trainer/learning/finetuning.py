"""From a training set to a head: train with some of it held out, ask, decide, and train on all of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from similis.catalog.projection import Matrix
from similis.trainer.learning.gate import Examination, Verdict, judge, judge_again
from similis.trainer.learning.head import Hyperparameters, checkpoints, train_head
from similis.trainer.learning.holdout import Holdout, folds
from similis.trainer.learning.training_set import MIN_IMAGES, Earlier, TrainingSet

# How firmly unlabelled images are held to the frozen space: the second is for where the first does harm.
PULL_WEIGHTS = (1500.0, 6000.0)


@dataclass(frozen=True)
class Learned:
    """The head [r, d] to use, and the gate's verdict that led to it.

    adapter: "learned", or what was there without a training: "pca", or "kept" for an earlier head. continued: whether
    the training began with an earlier head. steps: until it stopped, 0 without one. parameters: that it was trained
    with, or that were tried last.
    """

    adapter: str
    head: Matrix
    verdict: Verdict
    continued: bool
    steps: int
    parameters: Hyperparameters

    def quality(self) -> str:
        """As JSON: kept with the index, shown by `info`."""
        return json.dumps(
            {
                "adapter": self.adapter,
                "reason": self.verdict.reason,
                "continued": self.continued,
                "steps": self.steps,
                "parts": self.verdict.parts,
                "hyperparameters": self.parameters.as_dict(),
            }
        )


def learn(
    data: TrainingSet, earlier: Earlier | None, dim: int, parameters: Hyperparameters, progress: Callable[[float], None]
) -> Learned:
    """Trains a head and has it judged; where it is refused, what it began with is what comes back.

    The vectors are in the basis of the PCA, so the PCA to `dim` dimensions is the first columns of the identity. It
    is begun with, unless there is a head from earlier that serves the images that came since. progress: called with
    the share done, 0 to 1.
    """
    pca = np.eye(data.vectors.shape[1], dim, dtype=np.float32)
    if len(data) < MIN_IMAGES:
        verdict = Verdict(False, f"there are fewer than {MIN_IMAGES} images", 0.0, {})
        return Learned("pca", pca, verdict, continued=False, steps=0, parameters=parameters)
    if earlier is not None:
        splits = list(folds(data, earlier.fresh, parameters.seed))
        if _serves(splits, earlier.head):
            return _trained(data, splits, {"pca": pca, "kept": earlier.head}, parameters, progress)
    splits = list(folds(data, np.ones(len(data), dtype=bool), parameters.seed))
    return _trained(data, splits, {"pca": pca}, parameters, progress)


def _serves(splits: list[Holdout], head: Matrix) -> bool:
    examination = Examination()
    for holdout in splits:
        examination.ask(holdout, "frozen", None)
        examination.ask(holdout, "kept", head)
    return judge_again(examination, "kept").adopted


def _trained(
    data: TrainingSet,
    splits: list[Holdout],
    plain: dict[str, Matrix],
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> Learned:
    """From the last of the heads `plain` onwards; that one, where no training is better than all of them.

    The number of steps is the best one on what is held out (early stopping); where every number of steps does harm, a
    firmer pull to the frozen space is tried.
    """
    *_, (name, start) = plain.items()
    continued = name == "kept"
    share = 1 / (len(PULL_WEIGHTS) * len(splits) + 1)
    for number, weight in enumerate(PULL_WEIGHTS):
        firmer = replace(parameters, pull_weight=weight)
        base = number * len(splits) * share
        verdict, step = _examine(splits, start, plain, firmer, _scaled(progress, base, len(splits) * share))
        if verdict.adopted:
            head = train_head(data, start, firmer, _until(step, _scaled(progress, 1 - share, share)))
            return Learned("learned", head, verdict, continued, step, firmer)
    return Learned(name, start, verdict, continued, 0, firmer)


def _examine(
    splits: list[Holdout],
    start: Matrix,
    plain: dict[str, Matrix],
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> tuple[Verdict, int]:
    """Trains on each split, and gives the verdict on the best number of steps: one that passes, if there is one."""
    examination = Examination()
    for number, holdout in enumerate(splits):
        examination.ask(holdout, "frozen", None)
        for name, head in plain.items():
            examination.ask(holdout, name, head)

        def ask(step: int, head: Matrix, number: int = number) -> bool:
            examination.ask(splits[number], str(step), head)
            progress((number + step / parameters.steps) / len(splits))
            return True

        train_head(holdout.training, start, parameters, ask)
    verdicts = [(judge(examination, str(step), list(plain)), step) for step in checkpoints(parameters.steps)]
    return max(verdicts, key=lambda found: (found[0].adopted, found[0].gain))


def _until(last: int, progress: Callable[[float], None]) -> Callable[[int, Matrix], bool]:
    def observe(step: int, _: Matrix) -> bool:
        progress(step / last)
        return step < last

    return observe


def _scaled(progress: Callable[[float], None], base: float, share: float) -> Callable[[float], None]:
    return lambda done: progress(base + share * done)
