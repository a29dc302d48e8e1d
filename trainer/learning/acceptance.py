"""The acceptance gate: adopt an adapter only if it improves held-out queries and no metric gets worse."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.learning.evaluation import Evaluation, Results
from trainer.learning.holdout import GROUPS_SEEN, GROUPS_UNSEEN, NEIGHBOURHOOD, VIEWS
from trainer.learning.retrieval import Retrieval

# The required gain is at least this much and at least two standard errors. `chance` rejects meaningless groups before.
MIN_GAIN = 0.005
STANDARD_ERRORS = 2.0
# No metric of any query set may fall by more than this plus two standard errors of the comparison.
MAX_LOSS = 0.01
STANDARD_ERRORS_OF_LOSS = 2.0
# The frozen space has a neighbourhood mAP of 1 by definition. The adapter must keep this much of it.
MIN_NEIGHBOURHOOD = 0.8
# Smaller query sets cannot reject an adapter that was adopted before.
MIN_QUERIES = 20
# The metrics that the gate compares, and how a reason names them and the query sets.
METRICS = {"map": "mAP", "recall_at_1": "recall@1", "recall_at_10": "recall@10"}
QUERY_SETS = {
    GROUPS_SEEN: "other images of known entries",
    GROUPS_UNSEEN: "other images of unknown entries",
    VIEWS: "copies of an image",
    NEIGHBOURHOOD: "the frozen space's neighbours of images without an entry",
}


@dataclass(frozen=True)
class Decision:
    """The gate's decision on a candidate.

    gain: the weighted change of mAP against the baseline that is hardest to beat. metrics: for each query set its size
    and the metrics of each space.
    """

    adopted: bool
    reason: str
    gain: float
    metrics: dict[str, dict[str, object]]


def decide_adoption(evaluation: Evaluation, candidate: str, baselines: Sequence[str]) -> Decision:
    """Decide whether to adopt a newly trained space: it must beat each of the baselines.

    candidate: its name in the evaluation. baselines: "pca", then the space in use if there is one. No metric may be
    worse than in the space in use, nor worse than in both "pca" and "frozen".
    """
    tuned = evaluation.results(candidate)
    if not tuned:
        return Decision(False, "There are no held-out images to compare with.", 0.0, {})
    summary = evaluation.summary("frozen", *baselines, candidate=candidate)
    gains = [
        (gain, max(MIN_GAIN, STANDARD_ERRORS * error))
        for gain, error in (evaluation.gain(candidate, baseline) for baseline in baselines)
    ]
    gain, required = min(gains, key=lambda found: found[0] - found[1])
    against = {name: _regressions(evaluation.results(name), tuned) for name in ("frozen", *baselines)}
    regressions = [metric for metric in against["pca"] if metric in against["frozen"]]
    regressions += [metric for name in baselines[1:] for metric in against[name] if metric not in regressions]
    changes = _changes(evaluation.results("frozen"), tuned)
    if regressions:
        reason = f"Not adopted: results get worse ({', '.join(regressions)}). {changes}"
        return Decision(False, reason, gain, summary)
    if gain < required:
        reason = f"Not adopted: the gain of {gain:.4f} mAP is below the required {required:.4f}. {changes}"
        return Decision(False, reason, gain, summary)
    return Decision(True, f"Adopted with a gain of {gain:.4f} mAP. {changes}", gain, summary)


def decide_reuse(evaluation: Evaluation, candidate: str) -> Decision:
    """Decide whether to keep an adapter that was adopted before: no metric may be worse than in the frozen space.

    The evaluation must contain only images that the adapter was not trained on. Query sets with fewer than MIN_QUERIES
    queries are reported, but do not count.
    """
    frozen, tuned = (evaluation.results(space) for space in ("frozen", candidate))
    summary = evaluation.summary("frozen", candidate=candidate)
    gain, _ = evaluation.gain(candidate, "frozen")
    large_enough = {name: found for name, found in tuned.items() if len(found.average_precision) >= MIN_QUERIES}
    regressions = _regressions(frozen, large_enough)
    changes = _changes(frozen, tuned)
    if regressions:
        return Decision(False, f"Not kept: results get worse ({', '.join(regressions)}). {changes}", gain, summary)
    return Decision(True, f"Kept: it also works for images that it was not trained on. {changes}", gain, summary)


def _regressions(baseline: Results, tuned: Results) -> list[str]:
    """Return the metrics that are worse than the baseline's, in words."""
    # Groups with hidden labels are a better test of images without a group than neighbours in the frozen space.
    unneeded = {NEIGHBOURHOOD} if GROUPS_UNSEEN in tuned else set()
    names = [name for name in tuned if name not in unneeded]
    return [metric for name in names for metric in _regressions_of(name, baseline[name], tuned[name])]


def _regressions_of(name: str, baseline: Retrieval, tuned: Retrieval) -> list[str]:
    if name == NEIGHBOURHOOD:
        kept = tuned.average_precision
        low = kept.mean() < MIN_NEIGHBOURHOOD - STANDARD_ERRORS_OF_LOSS * float(kept.std()) / len(kept) ** 0.5
        return [f"{METRICS['map']} of {QUERY_SETS[name]}"] if low else []
    before, after = baseline.metrics(), tuned.metrics()
    losses = {metric: before[metric] - after[metric] for metric in METRICS}
    return [
        f"{METRICS[metric]} of {QUERY_SETS[name]}"
        for metric, loss in losses.items()
        if loss.mean() > MAX_LOSS + STANDARD_ERRORS_OF_LOSS * float(loss.std()) / len(loss) ** 0.5
    ]


def _changes(frozen: Results, tuned: Results) -> str:
    """Return which metrics are better and which are worse than in the frozen space, in words."""
    better: list[str] = []
    worse: list[str] = []
    for name in (name for name in tuned if name != NEIGHBOURHOOD):
        before, after = frozen[name].means(), tuned[name].means()
        for metric, words in METRICS.items():
            if before[metric] != after[metric]:
                side = better if after[metric] > before[metric] else worse
                side.append(f"{words} of {QUERY_SETS[name]} {before[metric]:.3f} to {after[metric]:.3f}")
    found = (("Better", better), ("Worse", worse))
    return " ".join(f"{word}: {', '.join(changes)}." for word, changes in found if changes)
