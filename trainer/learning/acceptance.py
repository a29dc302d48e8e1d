"""The acceptance gate: adopt an adapter only if it improves held-out queries and makes no kind of query worse."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.vectors.projection import normalised
from trainer.learning.dataset import Matrix, UnitVectors
from trainer.learning.evaluation import LEFT_OUT, Retrieval, rank
from trainer.learning.holdout import GROUPS_SEEN, GROUPS_UNSEEN, NEIGHBOURHOOD, VIEWS, Holdout

# The required gain is at least this much and at least two standard errors. `chance` rejects meaningless groups before.
MIN_GAIN = 0.005
STANDARD_ERRORS = 2.0
# No metric of any kind of query may fall by more than this plus two standard errors of the comparison.
MAX_LOSS = 0.01
STANDARD_ERRORS_OF_LOSS = 2.0
JUDGED = ("map", "recall_at_1", "recall_at_10")
# The frozen space has a neighbourhood mAP of 1 by definition. The adapter must keep this much of it.
MIN_NEIGHBOURHOOD = 0.8
# With fewer queries than this, an adopted adapter is not rejected.
ENOUGH_QUESTIONS = 20
# How a reason names kinds of queries and metrics.
QUESTIONS = {
    GROUPS_SEEN: "other images of known entries",
    GROUPS_UNSEEN: "other images of unknown entries",
    VIEWS: "copies of an image",
    NEIGHBOURHOOD: "the frozen space's neighbours of images without an entry",
}
FIGURES = {"map": "mAP", "recall_at_1": "recall@1", "recall_at_10": "recall@10"}

# By kind of question.
Answers = dict[str, Retrieval]


@dataclass(frozen=True)
class Verdict:
    """What the gate found. gain: the change of mAP against the space compared with, by the examination's weights.

    parts: for each kind of question the number of questions and the figures of each space.
    """

    adopted: bool
    reason: str
    gain: float
    parts: dict[str, dict[str, object]]


class Examination:
    """The results of several named spaces on the queries of all folds."""

    def __init__(self, grouped: float) -> None:
        """grouped: the share, 0 to 1, of the images that have a group. It is the weight of questions about groups."""
        self._answers: dict[str, dict[str, list[Retrieval]]] = defaultdict(lambda: defaultdict(list))
        self._grouped = grouped

    def ask(self, holdout: Holdout, space: str, projection: Matrix | None) -> None:
        """Run the queries of one fold in the space of a projection [dim, d], or in the frozen space (None)."""
        database = _projected(holdout.database, projection)
        for part in holdout.parts:
            queries = _projected(part.queries, projection)
            self._answers[space][part.name].append(rank(queries, database, part.right, part.ignored))

    def parts(self, space: str) -> Answers:
        """Return the results of a space, by kind of query."""
        return {name: Retrieval.join(answers) for name, answers in self._answers[space].items()}

    def gain(self, adapter: str, plain: str) -> tuple[float, float]:
        """Return the change of mAP from `plain` to `adapter` over all kinds of queries, and its standard error."""
        before, after = self.parts(plain), self.parts(adapter)
        changes = {name: after[name].average_precision - before[name].average_precision for name in after}
        weights = self._weights(list(changes))
        mean = sum(weights[name] * float(change.mean()) for name, change in changes.items())
        variance = sum(weights[name] ** 2 * float(change.var()) / len(change) for name, change in changes.items())
        return mean, variance**0.5

    def _weights(self, kinds: list[str]) -> dict[str, float]:
        """Views weigh as much as groups; known groups and unknown ones share by how many images have a group.

        Neighbourhoods are a constraint, not an aim, so they have no weight.
        """
        share = {VIEWS: 1.0, GROUPS_SEEN: self._grouped, GROUPS_UNSEEN: 1 - self._grouped}
        weights = {kind: share.get(kind, 0.0) for kind in kinds}
        total = sum(weights.values())
        return {kind: weight / total for kind, weight in weights.items()} if total else dict.fromkeys(kinds, 0.0)

    def shown(self, *spaces: str, adapter: str) -> dict[str, dict[str, object]]:
        """Return, for each kind of query, their number and the metrics of each space, one of them as "adapter"."""
        named = {**{space: self.parts(space) for space in spaces}, "adapter": self.parts(adapter)}
        return {
            part: {
                "queries": len(answers.average_precision),
                **{space: found[part].means() for space, found in named.items()},
            }
            for part, answers in named["adapter"].items()
        }


def judge(examination: Examination, adapter: str, plain: Sequence[str]) -> Verdict:
    """Decide whether the space named `adapter` is better than each of those named `plain`, which need no training.

    plain: "pca", and the space that serves now if there is one. No figure may be worse than in the space that serves
    now, nor worse than in both "pca" and "frozen".
    """
    tuned = examination.parts(adapter)
    if not tuned:
        return Verdict(False, "There are no held-out images to compare with.", 0.0, {})
    shown = examination.shown("frozen", *plain, adapter=adapter)
    gains = [
        (gain, max(MIN_GAIN, STANDARD_ERRORS * error))
        for gain, error in (examination.gain(adapter, name) for name in plain)
    ]
    gain, needed = min(gains, key=lambda found: found[0] - found[1])
    against = {name: _all_harms(examination.parts(name), tuned) for name in ("frozen", *plain)}
    harmed = [harm for harm in against["pca"] if harm in against["frozen"]]
    harmed += [harm for name in plain[1:] for harm in against[name] if harm not in harmed]
    changes = _changes(examination.parts("frozen"), tuned)
    if harmed:
        return Verdict(False, f"Not adopted: results get worse ({', '.join(harmed)}). {changes}", gain, shown)
    if gain < needed:
        reason = f"Not adopted: the gain of {gain:.4f} mAP is below the required {needed:.4f}. {changes}"
        return Verdict(False, reason, gain, shown)
    return Verdict(True, f"Adopted with a gain of {gain:.4f} mAP. {changes}", gain, shown)


def judge_again(examination: Examination, adapter: str) -> Verdict:
    """Decide whether to keep an adapter that was adopted before: nothing may be worse than in the frozen space.

    Only queries with images that it was not trained on count. Parts with few questions are shown but not judged.
    """
    frozen, tuned = (examination.parts(space) for space in ("frozen", adapter))
    shown = examination.shown("frozen", adapter=adapter)
    gain, _ = examination.gain(adapter, "frozen")
    telling = {name: asked for name, asked in tuned.items() if len(asked.average_precision) >= ENOUGH_QUESTIONS}
    harmed = _all_harms(frozen, telling)
    changes = _changes(frozen, tuned)
    if harmed:
        return Verdict(False, f"Not kept: results get worse ({', '.join(harmed)}). {changes}", gain, shown)
    return Verdict(True, f"Kept: it also works for images that it was not trained on. {changes}", gain, shown)


def best_unrelated(holdout: Holdout, projection: Matrix) -> Matrix:
    """Return the best score [q] of each held-out image among the images that are unrelated to it."""
    database = _projected(holdout.database, projection)
    scores = _projected(holdout.unrelated.queries, projection) @ database.T
    for row, ignored in zip(scores, holdout.unrelated.ignored, strict=True):
        row[ignored] = LEFT_OUT
    best: Matrix = scores.max(axis=1, initial=LEFT_OUT)
    return best


def _all_harms(without: Answers, tuned: Answers) -> list[str]:
    # Groups with hidden labels are a better test of images without a group than neighbours in the frozen space.
    unneeded = {NEIGHBOURHOOD} if GROUPS_UNSEEN in tuned else set()
    return [harm for name in tuned if name not in unneeded for harm in _harms(name, without[name], tuned[name])]


def _harms(name: str, without: Retrieval, tuned: Retrieval) -> list[str]:
    if name == NEIGHBOURHOOD:
        kept = tuned.average_precision
        low = kept.mean() < MIN_NEIGHBOURHOOD - STANDARD_ERRORS_OF_LOSS * float(kept.std()) / len(kept) ** 0.5
        return [f"{FIGURES['map']} of {QUESTIONS[name]}"] if low else []
    before, after = without.figures(), tuned.figures()
    losses = {metric: before[metric] - after[metric] for metric in JUDGED}
    return [
        f"{FIGURES[metric]} of {QUESTIONS[name]}"
        for metric, loss in losses.items()
        if loss.mean() > MAX_LOSS + STANDARD_ERRORS_OF_LOSS * float(loss.std()) / len(loss) ** 0.5
    ]


def _changes(frozen: Answers, tuned: Answers) -> str:
    """Return what gets better and what gets worse than in the frozen space, in words."""
    better: list[str] = []
    worse: list[str] = []
    for name in (name for name in tuned if name != NEIGHBOURHOOD):
        before, after = frozen[name].means(), tuned[name].means()
        for metric in JUDGED:
            if before[metric] != after[metric]:
                side = better if after[metric] > before[metric] else worse
                side.append(f"{FIGURES[metric]} of {QUESTIONS[name]} {before[metric]:.3f} to {after[metric]:.3f}")
    found = (("Better", better), ("Worse", worse))
    return " ".join(f"{word}: {', '.join(changes)}." for word, changes in found if changes)


def _projected(vectors: UnitVectors, projection: Matrix | None) -> Matrix:
    unit = vectors.astype(np.float32)
    return normalised(unit if projection is None else unit @ projection)
