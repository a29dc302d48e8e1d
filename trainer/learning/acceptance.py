"""The acceptance gate: adopt an adapter only if it improves held-out queries and no metric gets worse."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.learning.dataset import Mask
from trainer.learning.evaluation import Evaluation, Results
from trainer.learning.holdout import ENTRIES, GROUPS_SEEN, GROUPS_UNSEEN, NEIGHBOURHOOD, VIEWS
from trainer.learning.retrieval import FEW, PerQuery, Retrieval

# What is required at least, beside two standard errors: a gain of this share of what is missing, or a change of mAP.
# `chance` rejects meaningless groups before.
MIN_GAIN = 0.02
MIN_CHANGE = 0.005
STANDARD_ERRORS = 2.0
# No metric of any query set may fall by more than this plus two standard errors of the comparison.
MAX_LOSS = 0.01
STANDARD_ERRORS_OF_LOSS = 2.0
# The frozen space has a neighbourhood mAP of 1 by definition. The adapter must keep this much of it, or as much as the
# PCA, which keeps less of it in a collection of a few dozen images.
MIN_NEIGHBOURHOOD = 0.8
# Smaller query sets are reported, but decide nothing: one query can be right or wrong by chance.
MIN_QUERIES = 20
# The metrics that the gate compares, those that a reason lists, and how it names them and the query sets.
COMPARED = ("map", "recall_at_1", "found_at_10")
LISTED = ("map", "recall_at_1", "recall_at_10")
METRICS = {"map": "mAP", "recall_at_1": "recall@1", "recall_at_10": "recall@10", "found_at_10": "recall@10"}
QUERY_SETS = {
    GROUPS_SEEN: "other images of known entries",
    GROUPS_UNSEEN: "other images of unknown entries",
    VIEWS: "copies of an image",
    ENTRIES: "the entries of copies",
    NEIGHBOURHOOD: "the frozen space's neighbours of images without an entry",
}


@dataclass(frozen=True)
class Decision:
    """The gate's decision on a candidate.

    gain: the share of what is missing (1 - mAP) that is found, against the baseline that is hardest to beat. metrics:
    for each query set its size and the metrics of each space. harmless: whether the mAP of unknown entries falls by at
    most MAX_LOSS, without the tolerance for chance. An adapter may be adopted without that: few queries show a larger
    change by chance.
    """

    adopted: bool
    reason: str
    gain: float
    metrics: dict[str, dict[str, object]]
    harmless: bool = False

    def beats(self, other: "Decision") -> bool:
        """Return whether this candidate is better: adopted before rejected, harmless before not, then by its gain."""
        return (self.adopted, self.harmless, self.gain) > (other.adopted, other.harmless, other.gain)


def decide_adoption(evaluation: Evaluation, candidate: str, baselines: Sequence[str]) -> Decision:
    """Decide whether to adopt a newly trained space: it must beat each of the baselines.

    candidate: its name in the evaluation. baselines: "pca", then the space in use if there is one. No metric may be
    worse than in the space in use, nor worse than in both "pca" and "frozen". Query sets with fewer than MIN_QUERIES
    queries are reported, but do not count.
    """
    tuned = evaluation.results(candidate)
    summary = evaluation.summary("frozen", *baselines, candidate=candidate)
    compared = _large_enough(tuned)
    if not compared:
        return Decision(False, "There are too few held-out images to compare with.", 0.0, summary)
    (gain, required), (change, required_change) = (
        _hardest([measure(candidate, baseline, compared) for baseline in baselines], least)
        for measure, least in ((evaluation.gain, MIN_GAIN), (evaluation.change, MIN_CHANGE))
    )
    spaces = {name: evaluation.results(name) for name in ("frozen", *baselines)}
    regressions = _regressions_against_all(spaces, compared, COMPARED, STANDARD_ERRORS_OF_LOSS)
    unknown = {name: found for name, found in compared.items() if name == GROUPS_UNSEEN}
    harmless = not _regressions_against_all(spaces, unknown, ("map",), 0.0)
    changes = _changes(evaluation.results("frozen"), tuned)
    if regressions:
        reason = f"Not adopted: results get worse ({', '.join(regressions)}). {changes}"
        return Decision(False, reason, gain, summary)
    if gain < required and change < required_change:
        reason = f"Not adopted: of what was missed, {gain:.1%} is found. At least {required:.1%} is required. {changes}"
        return Decision(False, reason, gain, summary)
    return Decision(True, f"Adopted: of what was missed, {gain:.1%} is found. {changes}", gain, summary, harmless)


def decide_reuse(evaluation: Evaluation, candidate: str) -> Decision:
    """Decide whether to keep an adapter that was adopted before: no metric may be worse than in the frozen space.

    The evaluation must contain only images that the adapter was not trained on. Query sets with fewer than MIN_QUERIES
    queries are reported, but do not count.
    """
    frozen, tuned = (evaluation.results(space) for space in ("frozen", candidate))
    summary = evaluation.summary("frozen", candidate=candidate)
    gain, _ = evaluation.gain(candidate, "frozen", tuned)
    regressions = _regressions(frozen, _large_enough(tuned), COMPARED, STANDARD_ERRORS_OF_LOSS)
    changes = _changes(frozen, tuned)
    if regressions:
        return Decision(False, f"Not kept: results get worse ({', '.join(regressions)}). {changes}", gain, summary)
    return Decision(True, f"Kept: it also works for images that it was not trained on. {changes}", gain, summary)


def _hardest(gains: list[tuple[float, float]], least: float) -> tuple[float, float]:
    """Return the gain over the baseline that is hardest to beat, and the required one.

    gains: over each baseline, with standard errors.
    """
    required = [(gain, max(least, STANDARD_ERRORS * error)) for gain, error in gains]
    return min(required, key=lambda found: found[0] - found[1])


def _large_enough(results: Results) -> Results:
    return {name: found for name, found in results.items() if len(found.average_precision) >= MIN_QUERIES}


def _regressions_against_all(
    spaces: dict[str, Results], tuned: Results, metrics: Sequence[str], standard_errors: float
) -> list[str]:
    """Return the metrics that are worse than in the space in use, or than in both "pca" and "frozen", in words."""
    against = {name: _regressions(results, tuned, metrics, standard_errors) for name, results in spaces.items()}
    regressions = [metric for metric in against["pca"] if metric in against["frozen"]]
    others = [found for name, found in against.items() if name not in ("pca", "frozen")]
    return regressions + [metric for found in others for metric in found if metric not in regressions]


def _regressions(baseline: Results, tuned: Results, metrics: Sequence[str], standard_errors: float) -> list[str]:
    """Return those of the metrics that are worse than the baseline's, in words.

    standard_errors: how many of them are added to MAX_LOSS.
    """
    # Groups with hidden labels are a better test of images without a group than neighbours in the frozen space.
    unneeded = {NEIGHBOURHOOD} if GROUPS_UNSEEN in tuned else set()
    names = [name for name in tuned if name not in unneeded]
    found = []
    for name in names:
        # Learning a small entry brings its images together. If a held-out image was near one of them only, both leave
        # its first ten. Copies of the entry's images are the better test of whether its images are found.
        judged = tuned[name].relevant > (FEW if name == GROUPS_SEEN and ENTRIES in tuned else 0)
        found += _regressions_of(name, baseline[name], tuned[name], metrics, standard_errors, judged)
    return found


def _regressions_of(
    name: str, baseline: Retrieval, tuned: Retrieval, metrics: Sequence[str], standard_errors: float, judged: Mask
) -> list[str]:
    """See `_regressions`. judged: bool [q], the queries whose found_at_10 counts."""
    before, after = baseline.metrics(), tuned.metrics()
    losses = {metric: before[metric] - after[metric] for metric in metrics if name != NEIGHBOURHOOD or metric == "map"}
    if "found_at_10" in losses:
        losses["found_at_10"] = losses["found_at_10"][judged]
    if name == NEIGHBOURHOOD and not _exceeds(1 - after["map"], 1 - MIN_NEIGHBOURHOOD, standard_errors):
        return []
    return [
        f"{METRICS[metric]} of {QUERY_SETS[name]}"
        for metric, loss in losses.items()
        if len(loss) and _exceeds(loss, MAX_LOSS, standard_errors)
    ]


def _exceeds(losses: PerQuery, limit: float, standard_errors: float) -> bool:
    """Return whether the mean of losses [q] exceeds a limit by more than so many standard errors."""
    return bool(losses.mean() > limit + standard_errors * float(losses.std()) / len(losses) ** 0.5)


def _changes(frozen: Results, tuned: Results) -> str:
    """Return which metrics are better and which are worse than in the frozen space, in words."""
    better: list[str] = []
    worse: list[str] = []
    for name in (name for name in tuned if name != NEIGHBOURHOOD):
        before, after = frozen[name].means(), tuned[name].means()
        for metric in LISTED:
            if before[metric] != after[metric]:
                side = better if after[metric] > before[metric] else worse
                side.append(f"{METRICS[metric]} of {QUERY_SETS[name]} {before[metric]:.3f} to {after[metric]:.3f}")
    found = (("Better", better), ("Worse", worse))
    return " ".join(f"{word}: {', '.join(changes)}." for word, changes in found if changes)
