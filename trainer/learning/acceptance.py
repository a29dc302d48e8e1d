"""The gate: an adapter is adopted only where held-out questions prove that it helps, and harms no part by much."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import Matrix
from trainer.learning.evaluation import Retrieval, retrieve
from trainer.learning.holdout import GROUPS_SEEN, Holdout, Part

# Better on the whole by this much, and by more than chance would give to the best of several checkpoints.
MIN_GAIN = 0.005
STANDARD_ERRORS = 3.0
# Worse on no part by more than this, give or take two standard errors of the comparison.
MAX_LOSS = 0.02
STANDARD_ERRORS_OF_LOSS = 2.0
# With fewer questions none that was adopted before is given up.
ENOUGH_QUESTIONS = 20


# By kind of question.
Answers = dict[str, Retrieval]


@dataclass(frozen=True)
class Verdict:
    """What the gate found. gain: the change of mAP against what it is compared with, by the weights of the examination.

    parts: for each kind of question their number and the figures of each space.
    """

    adopted: bool
    reason: str
    gain: float
    parts: dict[str, dict[str, object]]


class Examination:
    """The answers of several spaces to the questions of all folds. A space is known by its name."""

    def __init__(self, grouped: float) -> None:
        """grouped: the share, 0 to 1, of the images that have a group: so much do questions about groups weigh."""
        self._answers: dict[str, dict[str, list[Retrieval]]] = defaultdict(lambda: defaultdict(list))
        self._grouped = grouped

    def ask(self, holdout: Holdout, space: str, projection: Matrix | None) -> None:
        """Puts the questions of one fold to a projection [dim, d]; None is the frozen space itself."""
        for part in holdout.parts:
            self._answers[space][part.name].append(_ask(holdout, part, projection))

    def parts(self, space: str) -> Answers:
        """The answers of a space, by kind of question."""
        return {name: Retrieval.join(answers) for name, answers in self._answers[space].items()}

    def gain(self, adapter: str, plain: str) -> tuple[float, float]:
        """The change of mAP from `plain` to `adapter` over all kinds of questions, and its standard error."""
        before, after = self.parts(plain), self.parts(adapter)
        changes = {name: after[name].average_precision - before[name].average_precision for name in after}
        weights = self._weights(list(changes))
        mean = sum(weights[name] * float(change.mean()) for name, change in changes.items())
        variance = sum(weights[name] ** 2 * float(change.var()) / len(change) for name, change in changes.items())
        return mean, variance**0.5

    def _weights(self, kinds: list[str]) -> dict[str, float]:
        """What tells of known groups weighs as much as those have images, and the rest the others, in equal parts."""
        others = max(len(kinds) - (GROUPS_SEEN in kinds), 1)
        weights = {kind: self._grouped if kind == GROUPS_SEEN else (1 - self._grouped) / others for kind in kinds}
        total = sum(weights.values())
        return {kind: weight / total for kind, weight in weights.items()} if total else dict.fromkeys(kinds, 0.0)

    def shown(self, *spaces: str, adapter: str) -> dict[str, dict[str, object]]:
        """For each kind of question their number, and the figures of the spaces, and of one of them as "adapter"."""
        named = {**{space: self.parts(space) for space in spaces}, "adapter": self.parts(adapter)}
        return {
            part: {
                "queries": len(answers.average_precision),
                **{space: found[part].means() for space, found in named.items()},
            }
            for part, answers in named["adapter"].items()
        }


def judge(examination: Examination, adapter: str, plain: Sequence[str]) -> Verdict:
    """Whether the space named `adapter` is better than each of those named `plain`, which serve without a training.

    plain: "pca", and what serves now if there is such a thing. No part may be worse than in what serves now, nor worse
    than in both "pca" and "frozen".
    """
    tuned = examination.parts(adapter)
    if not tuned:
        return Verdict(False, "nothing could be held out to compare", 0.0, {})
    shown = examination.shown("frozen", *plain, adapter=adapter)
    gains = [
        (gain, max(MIN_GAIN, STANDARD_ERRORS * error))
        for gain, error in (examination.gain(adapter, name) for name in plain)
    ]
    gain, needed = min(gains, key=lambda found: found[0] - found[1])
    against = {name: _all_harms(examination.parts(name), tuned) for name in ("frozen", *plain)}
    harmed = [harm for harm in against["pca"] if harm in against["frozen"]]
    harmed += [harm for name in plain[1:] for harm in against[name] if harm not in harmed]
    if harmed:
        return Verdict(False, f"it would lower {' and '.join(harmed)} by more than {MAX_LOSS}", gain, shown)
    if gain < needed:
        return Verdict(False, f"its gain of {gain:.4f} mAP is below the {needed:.4f} required", gain, shown)
    return Verdict(True, f"it gains {gain:.4f} mAP", gain, shown)


def judge_again(examination: Examination, adapter: str) -> Verdict:
    """Whether an adapter that was adopted before still serves: worse than "frozen" by more than allowed on no part.

    Only questions with images that it has not learnt from tell. Parts of few questions are shown, and decide nothing.
    """
    frozen, tuned = (examination.parts(space) for space in ("frozen", adapter))
    shown = examination.shown("frozen", adapter=adapter)
    gain, _ = examination.gain(adapter, "frozen")
    telling = {name: asked for name, asked in tuned.items() if len(asked.average_precision) >= ENOUGH_QUESTIONS}
    harmed = _all_harms(frozen, telling)
    if harmed:
        return Verdict(False, f"it lowers {' and '.join(harmed)} by more than {MAX_LOSS}", gain, shown)
    return Verdict(True, "it serves the images that it has not learnt from", gain, shown)


def _all_harms(without: Answers, tuned: Answers) -> list[str]:
    return [harm for name in tuned for harm in _harms(name, without[name], tuned[name])]


def _harms(name: str, without: Retrieval, tuned: Retrieval) -> list[str]:
    before, after = without.figures(), tuned.figures()
    losses = {metric: before[metric] - after[metric] for metric in before}
    return [
        f"{metric} of {name}"
        for metric, loss in losses.items()
        if loss.mean() > MAX_LOSS + STANDARD_ERRORS_OF_LOSS * float(loss.std()) / len(loss) ** 0.5
    ]


def _ask(holdout: Holdout, part: Part, projection: Matrix | None) -> Retrieval:
    queries, database = (vectors.astype(np.float32) for vectors in (part.queries, holdout.database))
    if projection is not None:
        queries, database = queries @ projection, database @ projection
    return retrieve(normalised(queries), part.answers, normalised(database), part.labels)
