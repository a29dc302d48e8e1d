"""From a training set to a head: train with some of it held out, ask, decide, and train on all of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product

import numpy as np

from catalog.vectors.projection import Matrix
from trainer.learning.acceptance import Examination, Verdict, judge, judge_again
from trainer.learning.dataset import MIN_IMAGES, Earlier, TrainingSet
from trainer.learning.head import Hyperparameters, checkpoints, train_head
from trainer.learning.holdout import Holdout, folds

# How much of the trained head is in the one that is used, the rest being what was begun with: the more, the better for
# what the training knows, and the less, for what it does not (Wortsman et al., 2022, "Robust fine-tuning of zero-shot
# models").
MIXES = (1.0, 0.85, 0.7, 0.55, 0.4)
# How firmly images are held to the frozen space where none has a group: nothing but their views draws them away.
PULL_WEIGHT_ALONE = 25.0


@dataclass(frozen=True)
class Learned:
    """The head [dim, d] to use, and the gate's verdict that led to it.

    adapter: "learned", or what was there without a training: "pca", or "kept" for an earlier head. continued: whether
    the training began with an earlier head. steps: until it stopped, 0 without one. mix: the share, 0 to 1, of what was
    trained.
    """

    adapter: str
    head: Matrix
    verdict: Verdict
    continued: bool
    steps: int
    mix: float
    parameters: Hyperparameters

    def quality(self) -> str:
        """As JSON: kept with the index, shown by `info`."""
        return json.dumps(
            {
                "adapter": self.adapter,
                "reason": self.verdict.reason,
                "continued": self.continued,
                "steps": self.steps,
                "mix": self.mix,
                "parts": self.verdict.parts,
                "hyperparameters": self.parameters.as_dict(),
            }
        )


@dataclass(frozen=True)
class _Trial:
    """What the gate finds of a head after so many steps, mixed so."""

    verdict: Verdict
    step: int
    mix: float

    def beats(self, other: "_Trial") -> bool:
        """Whether it passes and the other one does not, or its gain is larger."""
        if self.verdict.adopted != other.verdict.adopted:
            return self.verdict.adopted
        return self.verdict.gain > other.verdict.gain


def learn(
    data: TrainingSet,
    pca: Matrix,
    earlier: Earlier | None,
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> Learned:
    """Trains a head and has it judged; where it is refused, what it began with is what comes back.

    pca: the head [dim, d] that is begun with, unless there is one from earlier that serves the images that came since.
    progress: called with the share done, 0 to 1.
    """
    if not data.grouped:
        parameters = replace(parameters, pull_weight=PULL_WEIGHT_ALONE)
    if len(data) < MIN_IMAGES:
        verdict = Verdict(False, f"there are fewer than {MIN_IMAGES} images", 0.0, {})
        return Learned("pca", pca, verdict, continued=False, steps=0, mix=0.0, parameters=parameters)
    if earlier is not None:
        splits = list(folds(data, earlier.fresh, parameters.seed))
        if _serves(data, splits, earlier.head):
            return _trained(data, splits, {"pca": pca, "kept": earlier.head}, parameters, progress)
    splits = list(folds(data, np.ones(len(data), dtype=bool), parameters.seed))
    return _trained(data, splits, {"pca": pca}, parameters, progress)


def _serves(data: TrainingSet, splits: list[Holdout], head: Matrix) -> bool:
    examination = Examination(data.grouped)
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

    The number of steps (early stopping) and the mix are the best ones on what is held out.
    """
    *_, (name, start) = plain.items()
    continued = name == "kept"
    share = 1 / (len(splits) + 1)
    best = _examined(Examination(data.grouped), splits, plain, start, parameters, _scaled(progress, 0.0, 1 - share))
    if not best.verdict.adopted:
        return Learned(name, start, best.verdict, continued, 0, 0.0, parameters)
    head = train_head(data, start, parameters, _until(best.step, _scaled(progress, 1 - share, share)))
    return Learned("learned", _mixed(start, head, best.mix), best.verdict, continued, best.step, best.mix, parameters)


def _examined(
    examination: Examination,
    splits: list[Holdout],
    plain: dict[str, Matrix],
    start: Matrix,
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> _Trial:
    """Trains on each split, and gives the best number of steps, and the best mix of it."""
    for number, holdout in enumerate(splits):
        examination.ask(holdout, "frozen", None)
        for name, head in plain.items():
            examination.ask(holdout, name, head)

        def observe(step: int, head: Matrix, number: int = number) -> bool:
            for mix in MIXES:
                examination.ask(splits[number], _named(step, mix), _mixed(start, head, mix))
            progress((number + step / parameters.steps) / len(splits))
            return True

        train_head(holdout.training, start, parameters, observe)
    trials = [
        _Trial(judge(examination, _named(step, mix), list(plain)), step, mix)
        for step, mix in product(checkpoints(parameters.steps), MIXES)
    ]
    return reduce(lambda first, second: second if second.beats(first) else first, trials)


def _named(step: int, mix: float) -> str:
    return f"{step} steps, {mix}"


def _mixed(start: Matrix, head: Matrix, mix: float) -> Matrix:
    return (1 - mix) * start + mix * head


def _until(last: int, progress: Callable[[float], None]) -> Callable[[int, Matrix], bool]:
    def observe(step: int, _: Matrix) -> bool:
        progress(step / last)
        return step < last

    return observe


def _scaled(progress: Callable[[float], None], base: float, share: float) -> Callable[[float], None]:
    return lambda done: progress(base + share * done)
