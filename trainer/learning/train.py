"""Train an adapter's head: train without the held-out images, evaluate, decide, then train on all images."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product

import numpy as np

from catalog.vectors.projection import Matrix
from trainer.learning.acceptance import Examination, Verdict, best_unrelated, judge, judge_again
from trainer.learning.chance import groups_mean_something
from trainer.learning.dataset import MIN_IMAGES, UNGROUPED, Earlier, TrainingSet
from trainer.learning.directions import directions_of
from trainer.learning.head import Hyperparameters, checkpoints, train_head
from trainer.learning.holdout import LARGE, Holdout, folds

# Interpolations between the head before (0) and after (1) the training. More favours what was trained on, less
# favours all other images (WiSE-FT: Wortsman et al., 2022, "Robust fine-tuning of zero-shot models").
MIXES = (1.0, 0.75, 0.5)
# Below this average group size, pairs are held to the frozen space this many times more strongly.
SMALL_GROUP = 8
FIRMNESS_OF_SMALL_GROUPS = 5.0
NONSENSE = "Images with the same repository URL are no more alike than by chance, so groups were not used for training."


@dataclass(frozen=True)
class Learned:
    """The head [dim, d] to use, and the gate's verdict on it.

    adapter: "learned"; "learned_without_groups" if the groups were not used; "pca" or, for an earlier head, "kept" if
    the training was rejected. continued: whether the training started from an earlier head. steps: of the training, 0
    without one. mix: the share, 0 to 1, of the trained head. unrelated: the best score of each of some held-out images
    that have nothing to find, [q], among `gallery` images.
    """

    adapter: str
    head: Matrix
    verdict: Verdict
    continued: bool
    steps: int
    mix: float
    parameters: Hyperparameters
    unrelated: Matrix
    gallery: int

    def quality(self) -> dict[str, object]:
        """Return what is stored with the index and shown by `info`, as JSON holds it."""
        return {
            "adapter": self.adapter,
            "reason": self.verdict.reason,
            "continued": self.continued,
            "steps": self.steps,
            "mix": self.mix,
            "parts": self.verdict.parts,
            "hyperparameters": self.parameters.as_dict(),
        }


@dataclass(frozen=True)
class _Trial:
    """The gate's verdict on a head, with the recipe, the number of steps and the mix that produced it."""

    verdict: Verdict
    recipe: Hyperparameters
    step: int
    mix: float

    def beats(self, other: "_Trial") -> bool:
        """Return whether this trial is better: it alone passes the gate, or its gain is larger."""
        if self.verdict.adopted != other.verdict.adopted:
            return self.verdict.adopted
        return self.verdict.gain > other.verdict.gain


def recipes(data: TrainingSet, parameters: Hyperparameters) -> list[Hyperparameters]:
    """Return the hyperparameters to try, the usual ones first.

    Entries of a few images say little about which entries are alike, so their pairs are held more firmly.
    """
    if not data.grouped:
        return [parameters]
    _, sizes = np.unique(data.groups[data.groups != UNGROUPED], return_counts=True)
    firmness = FIRMNESS_OF_SMALL_GROUPS if sizes.mean() < SMALL_GROUP else 1.0
    usual = replace(parameters, group_pull_weight=parameters.group_pull_weight * firmness)
    return [usual, replace(usual, view_weight=2 * usual.view_weight)]


def learn(
    data: TrainingSet,
    pca: Matrix,
    earlier: Earlier | None,
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> Learned:
    """Train a head and let the gate judge it. If the gate rejects it, return the head that the training started from.

    pca: the head [dim, d] to start from, unless an earlier head serves the images that came since. progress: receives
    the share done, 0 to 1.
    """
    if len(data) < MIN_IMAGES:
        verdict = Verdict(False, f"There are fewer than {MIN_IMAGES} images.", 0.0, {})
        nothing = np.zeros(0, np.float32)
        return Learned("pca", pca, verdict, False, 0, 0.0, parameters, nothing, 0)
    if not data.grouped or groups_mean_something(data, parameters.seed):
        return _learn_from(data, pca, earlier, parameters, progress)
    found = _learn_from(data.ungrouped(), pca, earlier, parameters, progress)
    verdict = replace(found.verdict, reason=f"{NONSENSE} {found.verdict.reason}")
    adapter = "learned_without_groups" if found.adapter == "learned" else found.adapter
    return replace(found, adapter=adapter, verdict=verdict)


def _learn_from(
    data: TrainingSet,
    pca: Matrix,
    earlier: Earlier | None,
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> Learned:
    if earlier is not None:
        splits = list(folds(data, earlier.fresh, parameters.seed))
        if _serves(data, splits, earlier.head):
            return _trained(data, splits, pca, earlier.head, parameters, progress)
    splits = list(folds(data, np.ones(len(data), dtype=bool), parameters.seed))
    return _trained(data, splits, pca, None, parameters, progress)


def _serves(data: TrainingSet, splits: list[Holdout], head: Matrix) -> bool:
    examination = Examination(data.grouped)
    for holdout in splits:
        examination.ask(holdout, "frozen", None)
        examination.ask(holdout, "kept", head)
    return judge_again(examination, "kept").adopted


def _trained(
    data: TrainingSet,
    splits: list[Holdout],
    pca: Matrix,
    kept: Matrix | None,
    parameters: Hyperparameters,
    progress: Callable[[float], None],
) -> Learned:
    """Train from `kept`, or from the PCA, and return that head if no training is better than both."""
    start = pca if kept is None else kept
    competing = recipes(data, parameters)
    trainings = len(competing) + len(splits)
    advance = (_scaled(progress, number / trainings, 1 / trainings) for number in range(trainings))
    contest = _Contest(Examination(data.grouped), [_fold(holdout, pca, kept) for holdout in splits])
    best = contest.best(competing, advance)
    unrelated, gallery = contest.unrelated(best)
    name = "pca" if kept is None else "kept"
    found = Learned(name, start, best.verdict, kept is not None, 0, 0.0, best.recipe, unrelated, gallery)
    if not best.verdict.adopted:
        return found
    trained = train_head(data, start, best.recipe, _until(best.step, next(advance)))
    head = _mixed(start, trained, best.mix)
    return replace(found, adapter="learned", head=head, steps=best.step, mix=best.mix)


@dataclass(frozen=True)
class _Fold:
    """A split, and the heads that need no training, by name. The training starts from the last of them."""

    holdout: Holdout
    plain: dict[str, Matrix]

    @property
    def start(self) -> Matrix:
        return [*self.plain.values()][-1]


def _fold(holdout: Holdout, pca: Matrix, kept: Matrix | None) -> _Fold:
    # A PCA of few images overfits to them, so it must not contain the queries: a user's will be new to it too.
    if len(holdout.training) < LARGE:
        pca = directions_of(holdout.training, pca.shape[1])
    return _Fold(holdout, {"pca": pca} if kept is None else {"pca": pca, "kept": kept})


class _Contest:
    """Trains on the folds, and finds the recipe, number of steps and mix that answer the held-out questions best."""

    def __init__(self, examination: Examination, splits: list[_Fold]) -> None:
        self._examination = examination
        self._splits = splits
        self._heads: dict[tuple[Hyperparameters, int], list[Matrix]] = defaultdict(list)

    def best(self, competing: list[Hyperparameters], advance: Iterator[Callable[[float], None]]) -> _Trial:
        """Let all recipes compete on the first fold. The best of them is tried on the others too."""
        first, *others = self._splits
        self._ask_plain(first)
        for recipe in competing:
            self._try(first, recipe, next(advance))
        best = _best([trial for recipe in competing for trial in self._trials(recipe)])
        for fold in others:
            self._ask_plain(fold)
            self._try(fold, best.recipe, next(advance))
        return _best(self._trials(best.recipe)) if others else best

    def unrelated(self, trial: _Trial) -> tuple[Matrix, int]:
        """Return the best scores of held-out images without a match, and the size of the gallery.

        In the trial's space if it was adopted, else in the one before it.
        """
        trained = self._heads[trial.recipe, trial.step]
        mix = trial.mix if trial.verdict.adopted else 0.0
        scores = [
            best_unrelated(fold.holdout, _mixed(fold.start, head, mix))
            for fold, head in zip(self._splits, trained, strict=True)
        ]
        return np.concatenate(scores), len(self._splits[0].holdout.database)

    def _ask_plain(self, fold: _Fold) -> None:
        self._examination.ask(fold.holdout, "frozen", None)
        for name, head in fold.plain.items():
            self._examination.ask(fold.holdout, name, head)

    def _try(self, fold: _Fold, recipe: Hyperparameters, progress: Callable[[float], None]) -> None:
        def observe(step: int, head: Matrix) -> bool:
            self._heads[recipe, step].append(head)
            for mix in MIXES:
                self._examination.ask(fold.holdout, _named(recipe, step, mix), _mixed(fold.start, head, mix))
            progress(step / recipe.steps)
            return True

        train_head(fold.holdout.training, fold.start, recipe, observe)

    def _trials(self, recipe: Hyperparameters) -> list[_Trial]:
        plain = list(self._splits[0].plain)
        return [
            _Trial(judge(self._examination, _named(recipe, step, mix), plain), recipe, step, mix)
            for step, mix in product(checkpoints(recipe.steps), MIXES)
        ]


def _best(trials: list[_Trial]) -> _Trial:
    return reduce(lambda first, second: second if second.beats(first) else first, trials)


def _named(recipe: Hyperparameters, step: int, mix: float) -> str:
    return f"{recipe} after {step} steps, {mix}"


def _mixed(start: Matrix, head: Matrix, mix: float) -> Matrix:
    return (1 - mix) * start + mix * head


def _until(last: int, progress: Callable[[float], None]) -> Callable[[int, Matrix], bool]:
    def observe(step: int, _: Matrix) -> bool:
        progress(step / last)
        return step < last

    return observe


def _scaled(progress: Callable[[float], None], base: float, share: float) -> Callable[[float], None]:
    return lambda done: progress(base + share * done)
