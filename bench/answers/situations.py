"""Measure what an adapter gains and loses: `python bench/answers/situations.py --photographs FOLDER --kinds FOLDER`.

    python bench/answers/situations.py --photographs DIR --kinds DIR [--situation NAME ...] [--seeds 3] [--cache DIR]
                                       [--look-alikes]

The same questions as in bench/quality.py, with the trainer's code but without the services: images are embedded once,
so that several seeds are affordable. The kinds have a sub-folder for each kind of object; every fifth image of a kind
is a query and not in the collection. The situations say which of the others share an entry:
  grouped  all images of a kind
  half     all images of a kind, for a random half of the kinds (A); each image of the others (B) is its own entry
  threes   three images of a kind
  none     each image is its own entry
  views    three views of a photograph (see bench/parts/views/object_views.py); two further views are the queries

With --look-alikes, the images are those of bench/parts/views/look_alikes.py instead: 40 kinds of 52 images, as hard to
tell apart as real ones.

The questions: `kinds`, whether an image finds its kind; `copies`, whether a distorted copy (see bench/quality.py) finds
its original; `entries`, whether a copy or a further view finds its entry. Each line is the mean over the seeds, and
`least` the smallest change of mAP of any seed. For `copies`, mAP is the mean reciprocal rank.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench.answers.adoption import VIEW_SIZES, Shown, object_views, parameters
from bench.false_matches import ALONE, COPIES, Images, load, load_look_alikes
from bench.quality import COPIES_OF_IMAGES, ENTRIES, KINDS, QUERY_EVERY
from catalog.vectors.projection import Matrix, normalised
from trainer.learning.dataset import Labels
from trainer.learning.directions import DIMENSION, directions_of
from trainer.learning.retrieval import retrieve
from trainer.learning.train import train_adapter

SITUATIONS = ("grouped", "half", "threes", "none", "views")
ENTRY = 3
METRICS = ("map", "recall_at_1", "recall_at_10")
# Metrics by space (frozen, pca, adapter).
Spaces = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Question:
    """Queries [q, dim] with labels [q]. labels: [n], of the images; those with a query's label are relevant."""

    vectors: Matrix
    asked: Labels
    labels: Labels


@dataclass(frozen=True)
class Situation:
    """Images, their entries [n], and the questions by name."""

    shown: Shown
    entries: Labels
    questions: dict[str, Question]


def objects_of_kinds(images: Images, name: str, seed: int) -> Situation:
    """Return a situation of images of kinds."""
    chance = np.random.default_rng(seed)
    names = np.unique(images.kinds[images.kinds != ALONE])
    unknown = chance.permutation(names)[: len(names) // 2]
    position = np.concatenate([np.arange((images.kinds == kind).sum()) for kind in (ALONE, *names)])
    asked = (images.kinds != ALONE) & (position % QUERY_EVERY == seed % QUERY_EVERY)
    rows, queries = np.flatnonzero((images.kinds != ALONE) & ~asked), np.flatnonzero(asked)
    kinds = images.kinds[rows]
    entries = _entries(kinds, name, unknown)
    known = ~np.isin(images.kinds[queries], unknown)
    parts = {f"{KINDS} A": queries[known], f"{KINDS} B": queries[~known]} if name == "half" else {KINDS: queries}
    questions = {part: Question(images.vectors[of], images.kinds[of], kinds) for part, of in parts.items()}
    copies = images.copies[rows].reshape(-1, images.vectors.shape[1])
    numbers = np.arange(len(rows))
    questions[COPIES_OF_IMAGES] = Question(copies, np.repeat(numbers, COPIES), numbers)
    if name == "threes":
        questions[ENTRIES] = Question(copies, np.repeat(entries, COPIES), entries)
    return Situation(Shown(images.vectors[rows], images.views[rows]), entries, questions)


def _entries(kinds: Labels, name: str, unknown: Labels) -> Labels:
    """Return the entry of each image. An image without others has a number above 10,000."""
    entries = np.arange(len(kinds)) + 10_000
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        if name == "threes":
            entries[rows] = 100 * kind + np.arange(len(rows)) // ENTRY
        elif name == "grouped" or (name == "half" and kind not in unknown):
            entries[rows] = kind
    return entries


def views_of_photographs(views: Shown, seed: int) -> Situation:
    """Return ENTRY views of each photograph as an entry, and its other views as queries."""
    most = max(VIEW_SIZES)
    numbers = np.arange(len(views.vectors)).reshape(-1, most)
    numbers = np.random.default_rng(seed).permuted(numbers, axis=1)
    rows, queries = numbers[:, :ENTRY].ravel(), numbers[:, ENTRY:].ravel()
    entries = rows // most
    question = Question(views.vectors[queries], queries // most, entries)
    return Situation(Shown(views.vectors[rows], views.views[rows]), entries, {ENTRIES: question})


def measure(situation: Situation) -> tuple[dict[str, Spaces], str]:
    """Return the metrics of each space by question, and the adapter in words."""
    data = situation.shown.training_set(np.arange(len(situation.entries)), situation.entries)
    pca = directions_of(data, DIMENSION)
    found = train_adapter(data, pca, None, parameters(len(data)), lambda _: None)
    spaces: dict[str, Callable[[Matrix], Matrix]] = {
        "frozen": lambda vectors: vectors,
        "pca": lambda vectors: normalised(vectors @ pca),
        "adapter": lambda vectors: normalised(vectors @ found.head),
    }
    figures = {
        name: {
            space: retrieve(of(question.vectors), question.asked, of(situation.shown.vectors), question.labels).means()
            for space, of in spaces.items()
        }
        for name, question in situation.questions.items()
    }
    return figures, f"{found.adapter} ({found.steps} steps, mix {found.mix})"


def lines(name: str, measured: list[dict[str, Spaces]]) -> list[str]:
    """Return the lines of a situation: for each question and space the mean metrics."""
    found = []
    for question in measured[0]:
        least = min(each[question]["adapter"]["map"] - each[question]["frozen"]["map"] for each in measured)
        means: dict[str, list[float]] = defaultdict(list)
        for space in measured[0][question]:
            means[space] = [float(np.mean([each[question][space][metric] for each in measured])) for metric in METRICS]
        for space, values in means.items():
            change = f"{values[0] - means['frozen'][0]:>+9.4f}{least:>+9.4f}" if space == "adapter" else ""
            found.append(
                f"{f'{name}: {question}, {space}':32}" + "".join(f"{value:>11.4f}" for value in values) + change
            )
    return found


def main() -> None:
    """Measure all situations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--kinds", type=Path, required=True)
    parser.add_argument("--situation", nargs="+", choices=SITUATIONS, default=SITUATIONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--look-alikes", action="store_true", help="harder kinds, made from both folders")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keeps the vectors for the next run")
    options = parser.parse_args()
    load_kinds = load_look_alikes if options.look_alikes else load
    images = cache(lambda: load_kinds(options.cache, options.photographs, options.kinds))
    views = cache(lambda: object_views(options.photographs, options.cache and options.cache / "object-views.npz"))
    print(f"{'':32}{'mAP':>11}{'recall@1':>11}{'recall@10':>11}{'change':>9}{'least':>9}")
    for name in options.situation:
        measured, adapters = [], []
        for seed in range(options.seeds):
            made = views_of_photographs(views(), seed) if name == "views" else objects_of_kinds(images(), name, seed)
            figures, adapter = measure(made)
            measured.append(figures)
            adapters.append(adapter)
        print("\n".join(lines(name, measured)))
        print(f"  {', '.join(adapters)}", flush=True)


if __name__ == "__main__":
    main()
