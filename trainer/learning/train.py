"""Train an adapter's head: train without the held-out images, evaluate, decide, then train on all images."""

from dataclasses import dataclass, replace

import numpy as np

from catalog.vectors.false_matches import RUNNER_UPS
from catalog.vectors.projection import Matrix
from trainer.learning.acceptance import Decision, decide_reuse
from trainer.learning.chance import groups_are_meaningful
from trainer.learning.dataset import MIN_IMAGES, UNGROUPED, EarlierHead, TrainingSet
from trainer.learning.evaluation import Evaluation
from trainer.learning.head import Hyperparameters, Progress, train_head
from trainer.learning.holdout import MIN_UNGROUPED_SHARE, Holdout, folds
from trainer.learning.selection import Fold, ModelSelection, interpolated

# Groups with fewer images than this on average get a stronger pull, by this factor, and more steps. They are found by
# what views teach as well as by what their few images do.
SMALL_GROUP = 8
SMALL_GROUP_PULL = 5.0
SMALL_GROUP_STEPS = 1.3
# If only some of the images have a group, the groups move the others. So the pull on the others is stronger, by this
# factor.
PARTLY_GROUPED_PULL = 2.5
# The weight of the views beside a stronger pull, which weakens what is learned from them.
PULLED_VIEWS = 1.5
MEANINGLESS_GROUPS = (
    "Images with the same repository URL are no more alike than by chance, so groups were not used for training."
)


@dataclass(frozen=True)
class TrainingResult:
    """The head [dim, d] to use, and the gate's decision on the best candidate.

    adapter: "learned"; "learned_without_groups" if the groups were not used; if no candidate was adopted "pca" or, for
    an earlier head, "kept". continued: whether the training started from an earlier head. steps: 0 if no candidate was
    adopted. mix: the weight, 0 to 1, of the trained head. strangers: the scores [q, 1 + RUNNER_UPS] of the best objects
    for held-out images of unknown objects, in a gallery of `gallery_size` images.
    """

    adapter: str
    head: Matrix
    decision: Decision
    continued: bool
    steps: int
    mix: float
    parameters: Hyperparameters
    strangers: Matrix
    gallery_size: int

    def quality(self) -> dict[str, object]:
        """Return what is stored with the index and shown by `info`, as JSON stores it."""
        return {
            "adapter": self.adapter,
            "reason": self.decision.reason,
            "continued": self.continued,
            "steps": self.steps,
            "mix": self.mix,
            "parts": self.decision.metrics,
            "hyperparameters": self.parameters.as_dict(),
        }


def train_adapter(
    data: TrainingSet, pca: Matrix, earlier: EarlierHead | None, parameters: Hyperparameters, progress: Progress
) -> TrainingResult:
    """Train a head and evaluate it. If the gate rejects it, return the head that the training started from.

    pca: the head [dim, d] to start from, unless the earlier head works for the images that were added since. progress:
    receives the share done, 0 to 1.
    """
    if len(data) < MIN_IMAGES:
        decision = Decision(False, f"There are fewer than {MIN_IMAGES} images.", 0.0, {})
        no_scores = np.zeros((0, 1 + RUNNER_UPS), np.float32)
        return TrainingResult("pca", pca, decision, False, 0, 0.0, parameters, no_scores, 0)
    if not data.grouped or groups_are_meaningful(data, parameters.seed):
        return _choose_start(data, pca, earlier, parameters, progress)
    result = _choose_start(data.ungrouped(), pca, earlier, parameters, progress)
    decision = replace(result.decision, reason=f"{MEANINGLESS_GROUPS} {result.decision.reason}")
    adapter = "learned_without_groups" if result.adapter == "learned" else result.adapter
    return replace(result, adapter=adapter, decision=decision)


def adjusted(parameters: Hyperparameters, data: TrainingSet) -> Hyperparameters:
    """Return the hyperparameters that suit a training set's groups.

    Groups of a few images say little about which groups are alike, so their pairs get a stronger pull.
    """
    if not data.grouped:
        return parameters
    _, sizes = np.unique(data.groups[data.groups != UNGROUPED], return_counts=True)
    small, partly = sizes.mean() < SMALL_GROUP, data.grouped < 1 - MIN_UNGROUPED_SHARE
    return replace(
        parameters,
        steps=round(parameters.steps * (SMALL_GROUP_STEPS if small else 1.0)),
        view_weight=parameters.view_weight * (PULLED_VIEWS if small or partly else 1.0),
        pull_weight=parameters.pull_weight * (PARTLY_GROUPED_PULL if partly else 1.0),
        group_pull_weight=parameters.group_pull_weight * (SMALL_GROUP_PULL if small else 1.0),
    )


def _choose_start(
    data: TrainingSet, pca: Matrix, earlier: EarlierHead | None, parameters: Hyperparameters, progress: Progress
) -> TrainingResult:
    """Train from the earlier head if it is good enough for the images that were added since, otherwise from the PCA."""
    if earlier is not None:
        splits = list(folds(data, earlier.fresh, parameters.seed))
        if _can_be_reused(data, splits, earlier.head):
            return _train(data, splits, pca, earlier.head, parameters, progress)
    splits = list(folds(data, np.ones(len(data), dtype=bool), parameters.seed))
    return _train(data, splits, pca, None, parameters, progress)


def _can_be_reused(data: TrainingSet, splits: list[Holdout], head: Matrix) -> bool:
    evaluation = Evaluation(data.grouped)
    for holdout in splits:
        evaluation.add(holdout, "frozen", None)
        evaluation.add(holdout, "kept", head)
    return decide_reuse(evaluation, "kept").adopted


def _train(
    data: TrainingSet,
    splits: list[Holdout],
    pca: Matrix,
    kept: Matrix | None,
    parameters: Hyperparameters,
    progress: Progress,
) -> TrainingResult:
    """Train from `kept`, or from the PCA if that is None. Return that head if no candidate is adopted."""
    start = pca if kept is None else kept
    parameters = adjusted(parameters, data)
    # One run for each fold, and one on all images.
    runs = len(splits) + 1
    run_progress = (_scaled(progress, number / runs, 1 / runs) for number in range(runs))
    selection = ModelSelection(data.grouped, [Fold.of(holdout, pca, kept) for holdout in splits], parameters)
    best = selection.best(run_progress)
    strangers, gallery_size = selection.strangers(best)
    name = "pca" if kept is None else "kept"
    result = TrainingResult(name, start, best.decision, kept is not None, 0, 0.0, parameters, strangers, gallery_size)
    if not best.decision.adopted:
        return result
    parameters = replace(parameters, steps=final_steps(parameters.steps, data, splits))
    head = interpolated(start, train_head(data, start, parameters, next(run_progress)), best.mix)
    return replace(result, adapter="learned", head=head, steps=parameters.steps, mix=best.mix, parameters=parameters)


def final_steps(steps: int, data: TrainingSet, splits: list[Holdout]) -> int:
    """Return how many steps to train on all images, so that each is drawn as often as in the `steps` of a fold."""
    return round(steps * len(data) * len(splits) / max(sum(len(holdout.training) for holdout in splits), 1))


def _scaled(progress: Progress, base: float, share: float) -> Progress:
    return lambda done: progress(base + share * done)
