"""From a training set to a head: train with some of it held out, ask, decide, and train on all of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from similis.catalog.projection import Matrix
from similis.trainer.learning.gate import MIN_GAIN, Examination, Verdict, judge, judge_again
from similis.trainer.learning.head import Hyperparameters, checkpoints, train_head
from similis.trainer.learning.holdout import Holdout, folds
from similis.trainer.learning.training_set import MIN_IMAGES, UNGROUPED, Earlier, TrainingSet

# How firmly images without a group are held to the frozen space, beside groups and where there are none: the second is
# for where the first does harm.
PULL_WEIGHTS = (400.0, 2000.0)
PULL_WEIGHTS_ALONE = (100.0, 2000.0)
# The second, if it is better by more than MIN_GAIN: it is for many objects, and learns a few dozen by heart.
TEMPERATURES = (0.2, 0.1)


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


@dataclass(frozen=True)
class _Trial:
    """What the gate finds of so many steps with these parameters."""

    verdict: Verdict
    step: int
    parameters: Hyperparameters

    def beats(self, other: "_Trial", margin: float = 0.0) -> bool:
        """Whether it passes and the other one does not, or its gain is larger by more than `margin`."""
        if self.verdict.adopted != other.verdict.adopted:
            return self.verdict.adopted
        return self.verdict.gain > other.verdict.gain + margin


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

    The temperature and the number of steps (early stopping) are the best ones on what is held out; where all of them do
    harm, a firmer pull to the frozen space is tried.
    """
    *_, (name, start) = plain.items()
    continued = name == "kept"
    pulls = _pull_weights(data)
    share = 1 / (len(pulls) * len(TEMPERATURES) * len(splits) + 1)
    trials: list[_Trial] = []
    for weight in pulls:
        for temperature in TEMPERATURES:
            tried = replace(parameters, temperature=temperature, pull_weight=weight)
            done = len(trials) * len(splits) * share
            trials.append(_examine(splits, start, plain, tried, _scaled(progress, done, len(splits) * share)))
        best = reduce(lambda first, second: second if second.beats(first, MIN_GAIN) else first, trials)
        if best.verdict.adopted:
            head = train_head(data, start, best.parameters, _until(best.step, _scaled(progress, 1 - share, share)))
            return Learned("learned", head, best.verdict, continued, best.step, best.parameters)
    return Learned(name, start, best.verdict, continued, 0, best.parameters)


def _pull_weights(data: TrainingSet) -> tuple[float, ...]:
    grouped = data.groups != UNGROUPED
    if not grouped.any():
        return PULL_WEIGHTS_ALONE
    # It holds images without a group: where there are none, its weight changes nothing.
    return PULL_WEIGHTS[:1] if grouped.all() else PULL_WEIGHTS


def _examine(
    splits: list[Holdout],
    start: Matrix,
    plain: dict[str, Matrix],
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> _Trial:
    """Trains on each split, and gives the best number of steps: one that passes, if there is one."""
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
    trials = [
        _Trial(judge(examination, str(step), list(plain)), step, parameters) for step in checkpoints(parameters.steps)
    ]
    return reduce(lambda first, second: second if second.beats(first) else first, trials)


def _until(last: int, progress: Callable[[float], None]) -> Callable[[int, Matrix], bool]:
    def observe(step: int, _: Matrix) -> bool:
        progress(step / last)
        return step < last

    return observe


def _scaled(progress: Callable[[float], None], base: float, share: float) -> Callable[[float], None]:
    return lambda done: progress(base + share * done)
