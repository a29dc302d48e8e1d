"""The gate: an adapter is adopted only where held-out questions prove that it helps, and harms no part by much."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from similis.catalog.projection import normalised
from similis.trainer.learning.holdout import Holdout, Part
from similis.trainer.learning.retrieval import Retrieval, retrieve
from similis.trainer.learning.training_set import Matrix

# Better on the whole by this much, and by more than chance would give to the best of several checkpoints.
MIN_GAIN = 0.005
STANDARD_ERRORS = 3.0
# Worse on no part by more than this, give or take one standard error of the comparison.
MAX_LOSS = 0.02
# One that was adopted before is given up for what cannot be chance: that costs a training.
ENOUGH_QUESTIONS = 20
STANDARD_ERRORS_AGAIN = 2.0


@dataclass(frozen=True)
class Verdict:
    """What the gate found. gain: the change of mAP against the plain PCA, averaged over the kinds of questions.

    parts: for each kind of question their number and the figures of the frozen space, the PCA and the adapter.
    """

    adopted: bool
    reason: str
    gain: float
    parts: dict[str, dict[str, object]]


class Examination:
    """The answers of several spaces to the questions of all folds. A space is known by its name."""

    def __init__(self) -> None:
        self._answers: dict[str, dict[str, list[Retrieval]]] = defaultdict(lambda: defaultdict(list))

    def ask(self, holdout: Holdout, space: str, projection: Matrix | None) -> None:
        """Puts the questions of one fold to a projection [r, d]; None is the frozen space itself."""
        for part in holdout.parts:
            self._answers[space][part.name].append(_ask(holdout, part, projection))

    def parts(self, space: str) -> dict[str, Retrieval]:
        """The answers of a space, by kind of question."""
        return {name: Retrieval.join(answers) for name, answers in self._answers[space].items()}


def judge(examination: Examination, adapter: str) -> Verdict:
    """Compares the space named `adapter` with those named "pca" and "frozen" on the same questions."""
    frozen, pca, tuned = (examination.parts(space) for space in ("frozen", "pca", adapter))
    if not tuned:
        return Verdict(False, "nothing could be held out to compare", 0.0, {})
    shown: dict[str, dict[str, object]] = {
        name: {
            "queries": len(tuned[name].average_precision),
            "frozen": frozen[name].means(),
            "pca": pca[name].means(),
            "adapter": tuned[name].means(),
        }
        for name in tuned
    }
    changes = [tuned[name].average_precision - pca[name].average_precision for name in tuned]
    gain = float(np.mean([change.mean() for change in changes]))
    chance = float(np.sqrt(sum(change.var() / len(change) for change in changes))) / len(changes)
    harmed = [harm for name in tuned for harm in _harms(name, pca[name], tuned[name])]
    if harmed:
        return Verdict(False, f"it would lower {' and '.join(harmed)} by more than {MAX_LOSS}", gain, shown)
    needed = max(MIN_GAIN, STANDARD_ERRORS * chance)
    if gain < needed:
        return Verdict(False, f"its gain of {gain:.4f} mAP is below the {needed:.4f} required", gain, shown)
    return Verdict(True, f"it gains {gain:.4f} mAP", gain, shown)


def judge_again(examination: Examination, adapter: str) -> Verdict:
    """Whether an adapter that was adopted before still serves: worse than "frozen" by more than allowed on no part.

    Only questions with images that it has not learnt from tell. Parts of few questions are shown, and decide nothing.
    """
    frozen, tuned = (examination.parts(space) for space in ("frozen", adapter))
    shown: dict[str, dict[str, object]] = {
        name: {
            "queries": len(tuned[name].average_precision),
            "frozen": frozen[name].means(),
            "adapter": tuned[name].means(),
        }
        for name in tuned
    }
    changes = [(tuned[name].average_precision - frozen[name].average_precision).mean() for name in tuned]
    gain = float(np.mean(changes)) if changes else 0.0
    telling = [name for name in tuned if len(tuned[name].average_precision) >= ENOUGH_QUESTIONS]
    harmed = [harm for name in telling for harm in _harms(name, frozen[name], tuned[name], STANDARD_ERRORS_AGAIN)]
    if harmed:
        return Verdict(False, f"it lowers {' and '.join(harmed)} by more than {MAX_LOSS}", gain, shown)
    return Verdict(True, "it serves the images that it has not learnt from", gain, shown)


def _harms(name: str, without: Retrieval, tuned: Retrieval, standard_errors: float = 1.0) -> list[str]:
    before, after = without.figures(), tuned.figures()
    losses = {metric: before[metric] - after[metric] for metric in before}
    return [
        f"{metric} of {name}"
        for metric, loss in losses.items()
        if loss.mean() > MAX_LOSS + standard_errors * float(loss.std()) / len(loss) ** 0.5
    ]


def _ask(holdout: Holdout, part: Part, projection: Matrix | None) -> Retrieval:
    queries, database = part.queries, holdout.database
    if projection is not None:
        queries, database = queries @ projection, database @ projection
    return retrieve(normalised(queries), part.answers, normalised(database), part.labels)
