"""What the gate asks with: images and views that a training did not see.

Small collections are asked fold by fold, so that every image is a question once and chance has little to say.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainer.learning.dataset import UNGROUPED, Labels, Mask, TrainingSet, UnitVectors

FOLDS = 3
# From this size on one fold has questions enough, also if it hides fewer groups, so that nearly all are learnt from.
LARGE = 4000
HIDDEN_OF_LARGE = 5
MAX_QUERIES = 1000
MAX_DATABASE = 10_000
GROUPS_SEEN, GROUPS_UNSEEN, VIEWS = "groups_seen", "groups_unseen", "views"
# Below this share of images without a group, groups not seen are no part of what the collection is.
MIN_UNGROUPED_SHARE = 0.1


@dataclass(frozen=True)
class Part:
    """Questions of one kind. queries: unit base vectors [q, dim]; answers, labels: as in `retrieve`."""

    name: str
    queries: UnitVectors
    answers: Labels
    labels: Labels


@dataclass(frozen=True)
class Holdout:
    """A training set without what is asked, the images [n, dim] that stay to be found, and the questions.

    parts: "groups_seen": held-out images of groups that the training knows; "groups_unseen": images of groups whose
    labels it does not know; "views": augmented views of images without a group, unknown ones of images whose other
    views it knows if it knows views of all images, else of images whose views it does not know.
    """

    training: TrainingSet
    database: UnitVectors
    parts: tuple[Part, ...]


def folds(data: TrainingSet, fresh: Mask, seed: int) -> Iterator[Holdout]:
    """The splits of a training set: FOLDS for a small one, one for a large one. Deterministic for a seed.

    fresh: bool [n]; only these are asked with, and only groups that are fresh as a whole are held out. All of them
    where a training begins; where it goes on from an earlier one, those which that has not learnt from.
    """
    random = np.random.default_rng(seed)
    image_fold = random.integers(FOLDS, size=len(data))
    names = np.setdiff1d(data.groups[fresh], [*data.groups[~fresh], UNGROUPED])
    large = len(data) >= LARGE
    fold_numbers = np.arange(len(names)) % (HIDDEN_OF_LARGE if large else FOLDS)
    group_fold = dict(zip(random.permutation(names).tolist(), fold_numbers, strict=True))
    ask_unseen = bool((data.groups == UNGROUPED).mean() >= MIN_UNGROUPED_SHARE)
    for fold in range(1 if large else FOLDS):
        unseen = np.array([ask_unseen and group_fold.get(int(group)) == fold for group in data.groups], dtype=bool)
        yield _split(data, fresh, (image_fold == fold) & fresh, unseen, fold, random)


def fresh_questions(data: TrainingSet, fresh: Mask, seed: int) -> Holdout:
    """What can be asked with all images that an adapter has not learnt from, `fresh`, bool [n].

    The parts are "groups_seen" and "views" again; groups may be new as a whole. Deterministic for a seed.
    """
    none_hidden = np.zeros(len(data), dtype=bool)
    return _split(data, fresh, fresh, none_hidden, 0, np.random.default_rng(seed))


def _split(
    data: TrainingSet, fresh: Mask, asked: Mask, unseen: Mask, fold: int, random: np.random.Generator
) -> Holdout:
    grouped = data.groups != UNGROUPED
    queries = asked & grouped & ~_last_of_its_group(data.groups, asked)
    seen, hidden = (_at_most(MAX_QUERIES, np.flatnonzero(queries & mask), random) for mask in (~unseen, unseen))
    gone = np.zeros(len(data), dtype=bool)
    gone[seen] = gone[hidden] = True
    training = data.with_groups(np.where(unseen, UNGROUPED, data.groups))
    # Each fold asks with another view.
    number = fold % max(data.views.shape[1], 1)
    all_viewed = len(data.viewed) == len(data) and data.views.shape[1] > 1
    training = training.without_view(number) if all_viewed else training.without_views(asked)
    viewed = (fresh if all_viewed else asked)[data.viewed]
    rows = np.flatnonzero(~grouped[data.viewed] & viewed)
    rows = _at_most(MAX_QUERIES, rows, random) if data.views.shape[1] else rows[:0]
    shown = data.viewed[rows]
    found = np.union1d(_at_most(MAX_DATABASE, np.flatnonzero(~gone), random), shown)
    views = data.views[rows, number] if len(rows) else data.vectors[:0]
    parts = (
        Part(GROUPS_SEEN, data.vectors[seen], data.groups[seen], data.groups[found]),
        Part(GROUPS_UNSEEN, data.vectors[hidden], data.groups[hidden], data.groups[found]),
        Part(VIEWS, views, shown, found),
    )
    return Holdout(training.without(gone), data.vectors[found], tuple(part for part in parts if len(part.queries)))


def _last_of_its_group(groups: Labels, asked: Mask) -> Mask:
    """One image of each group that would have none left to be found: it stays."""
    stays = np.zeros(len(groups), dtype=bool)
    remaining = set(groups[~asked].tolist())
    for position in np.flatnonzero(asked):
        if groups[position] not in remaining:
            stays[position] = True
            remaining.add(groups[position])
    return stays


def _at_most(count: int, positions: Labels, random: np.random.Generator) -> Labels:
    return random.permutation(positions)[:count]
