"""Measure which groups a finetune learns: `python bench/answers/adoption.py --photographs FOLDER --kinds FOLDER`.

    python bench/answers/adoption.py --photographs DIR --kinds DIR [--trials NAME ...] [--seeds 3] [--cache DIR]

The photographs all differ; the kinds have a sub-folder for each kind of object. The embedder is the real one, and the
trainer's code learns and decides. Each trial draws a collection. `genuine` groups should be adopted:
  views   each photograph is an object, with 2, 3, 4 or 5 views of it in an entry (bench/parts/views/object_views.py)
  kinds   entries of 2, 3, 5, 8, 12 or 20 images of a kind

Groups of 2, 3, 5 or 20 images by chance should not be. They are tested before the training. With
`--steps 0`, a trial whose groups fail that test ends there:
  cold    nothing has been learned before
  warm    training can continue from a head that was learned from six tenths of the images, without groups
  wrong   the same, but that head was learned from the same wrong groups

Groups count as adopted if the adapter is `learned`. `score` is how many standard deviations the groups are above
chance. `gain` is what the best candidate gains in mAP; `steps` is 0 if no candidate was adopted. The exit status is 1
if more than one in 30 trials by chance is adopted, or less than 28 in 30 genuine ones.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.false_matches import ALONE, Images, embed, load
from bench.parts.photographs import image_files
from bench.parts.views.object_views import object_view
from catalog.vectors.projection import Matrix
from trainer.adapter.fit import training_steps
from trainer.fetch.view_sample import VIEWS
from trainer.learning.chance import group_score, groups_are_meaningful
from trainer.learning.dataset import EarlierHead, Labels, TrainingSet, usable_groups
from trainer.learning.directions import DIMENSION, directions_of
from trainer.learning.head import Hyperparameters, train_head
from trainer.learning.pictures import same_pictures
from trainer.learning.train import train_adapter

VIEW_SIZES, KIND_SIZES, CHANCE_SIZES = (2, 3, 4, 5), (2, 3, 5, 8, 12, 20), (2, 3, 5, 20)
TRIALS = ("views", "kinds", "cold", "warm", "wrong")
GENUINE = ("views", "kinds")
# The share of the images that a trial draws, and of those that an earlier head was learned from.
DRAWN, EARLIER = 0.8, 0.6
MAX_ADOPTED_BY_CHANCE, MIN_ADOPTED = 1 / 30, 28 / 30


@dataclass(frozen=True)
class Shown:
    """Images and their augmented views: unit base vectors [n, dim] and [n, VIEWS, dim]."""

    vectors: Matrix
    views: Matrix

    def training_set(self, rows: Labels, groups: Labels) -> TrainingSet:
        """Return some of the images, in groups [n]."""
        vectors = self.vectors[rows].astype(np.float16)
        viewed = np.arange(len(rows))
        return TrainingSet(
            vectors, usable_groups(groups), self.views[rows].astype(np.float16), viewed, same_pictures(vectors)
        )


@dataclass(frozen=True)
class Trial:
    """A collection to learn. steps: None trains as long as a finetune does."""

    name: str
    size: int
    seed: int
    data: TrainingSet
    steps: int | None

    def parameters(self, images: int) -> Hyperparameters:
        """Return what so many images are trained with."""
        return replace(parameters(images), steps=self.steps) if self.steps else parameters(images)


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    name: str
    size: int
    seed: int
    images: int
    score: float
    adopted: bool
    adapter: str
    continued: bool
    steps: int
    mix: float
    gain: float
    seconds: float
    reason: str


def run(trial: Trial) -> Outcome:
    """Learn a trial's collection."""
    data, began = trial.data, time.process_time()
    found = None
    if trial.steps != 0 or groups_are_meaningful(data):
        given = trial.parameters(len(data))
        found = train_adapter(data, directions_of(data, DIMENSION), earlier_head(trial), given, lambda _: None)
    return Outcome(
        name=trial.name,
        size=trial.size,
        seed=trial.seed,
        images=len(data),
        score=round(group_score(data), 1),
        adopted=found is not None and found.adapter == "learned",
        adapter=found.adapter if found else "groups not used",
        continued=found is not None and found.continued,
        steps=found.steps if found else 0,
        mix=found.mix if found else 0.0,
        gain=round(found.decision.gain, 4) if found else 0.0,
        seconds=round(time.process_time() - began, 1),
        reason=found.decision.reason if found else "",
    )


def earlier_head(trial: Trial) -> EarlierHead | None:
    """Return the head that training can continue from, if the trial has one."""
    if trial.name not in ("warm", "wrong"):
        return None
    fresh = np.random.default_rng(trial.seed).random(len(trial.data)) >= EARLIER
    known = trial.data.without(fresh)
    known = known if trial.name == "wrong" else known.ungrouped()
    head = train_head(known, directions_of(known, DIMENSION), trial.parameters(len(known)), lambda _: None)
    return EarlierHead(head, fresh)


def parameters(images: int) -> Hyperparameters:
    """Return what a finetune of so many images trains with."""
    return Hyperparameters(steps=training_steps(images))


def views_of_photographs(photographs: Shown, size: int, seed: int) -> TrainingSet:
    """Return objects with `size` views each. photographs: max(VIEW_SIZES) views of each, one object after another."""
    chance = np.random.default_rng(seed)
    most = max(VIEW_SIZES)
    count = len(photographs.vectors) // most
    chosen = chance.permutation(count)[: round(DRAWN * count)]
    rows = np.concatenate([most * number + chance.permutation(most)[:size] for number in chosen])
    return photographs.training_set(rows, rows // most)


def entries_of_kinds(images: Shown, kinds: Labels, size: int, seed: int) -> TrainingSet:
    """Return entries of `size` images of a kind. Images that are left over have an entry of their own."""
    rows = _drawn(np.flatnonzero(kinds != ALONE), seed)
    groups = np.empty(len(rows), dtype=np.int64)
    for kind in np.unique(kinds[rows]):
        of_kind = np.flatnonzero(kinds[rows] == kind)
        groups[of_kind] = 1000 * kind + np.arange(len(of_kind)) // size
    return images.training_set(rows, groups)


def groups_by_chance(images: Shown, size: int, seed: int) -> TrainingSet:
    """Return images in entries of `size` images that have nothing in common."""
    rows = _drawn(np.arange(len(images.vectors)), seed)
    return images.training_set(rows, np.arange(len(rows)) // size)


def _drawn(positions: Labels, seed: int) -> Labels:
    return np.random.default_rng(seed).permutation(positions)[: round(DRAWN * len(positions))]


def trials(options: argparse.Namespace, images: Images, photographs: Shown) -> Iterator[Trial]:
    """Yield the trials that the options ask for, one size after the other."""
    shown = Shown(images.vectors, images.views)
    made: dict[str, tuple[tuple[int, ...], Callable[[int, int], TrainingSet]]] = {
        "views": (VIEW_SIZES, lambda size, seed: views_of_photographs(photographs, size, seed)),
        "kinds": (KIND_SIZES, lambda size, seed: entries_of_kinds(shown, images.kinds, size, seed)),
    }
    by_chance = (CHANCE_SIZES, lambda size, seed: groups_by_chance(shown, size, seed))
    for name in options.trials:
        sizes, make = made.get(name, by_chance)
        for size in sizes:
            for seed in range(options.seeds):
                yield Trial(name, size, seed, make(size, seed), options.steps)


def object_views(folder: Path, cache: Path | None) -> Shown:
    """Return max(VIEW_SIZES) views of each photograph in a folder, from the cache if it exists."""
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            return Shown(**stored)
    chance, views = random.Random(0), []
    for path in image_files(folder):
        with Image.open(path) as opened:
            photograph = opened.convert("RGB")
        views += [object_view(photograph, chance) for _ in range(max(VIEW_SIZES))]
    vectors = np.stack(asyncio.run(embed(views, VIEWS)))
    shown = Shown(vectors[:, 0], vectors[:, 1:])
    if cache is not None:
        np.savez(cache, **vars(shown))
    return shown


def line(outcome: Outcome) -> str:
    """Return an outcome as a line of the table."""
    what = f"{outcome.name} of {outcome.size}, seed {outcome.seed}"
    return (
        f"{what:24}{outcome.images:>7}{outcome.score:>8.1f}  {outcome.adapter:24}{outcome.steps:>6}"
        f"{outcome.mix:>6.2f}{outcome.gain:>9.4f}{outcome.seconds:>8.1f}"
    )


def main() -> None:
    """Run the trials, print a line for each, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--kinds", type=Path, required=True)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=TRIALS)
    parser.add_argument("--seeds", type=int, default=3, help="trials of each size (default: %(default)s)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keeps the vectors for the next run")
    parser.add_argument(
        "--steps", type=int, help="of the training (default: as in a finetune); 0: only where groups pass"
    )
    parser.add_argument("--json", type=Path, help="also write the outcomes to this file")
    options = parser.parse_args()
    images = load(options.cache, options.photographs, options.kinds)
    photographs = object_views(options.photographs, options.cache and options.cache / "object-views.npz")
    print(f"{'':24}{'images':>7}{'score':>8}  {'adapter':24}{'steps':>6}{'mix':>6}{'gain':>9}{'CPU s':>8}")
    outcomes: list[Outcome] = []
    for trial in trials(options, images, photographs):
        outcomes.append(run(trial))
        print(line(outcomes[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=2), encoding="utf-8")
    missed = False
    for names, what in ((GENUINE, "genuine"), (set(TRIALS) - set(GENUINE), "by chance")):
        adopted = [each.adopted for each in outcomes if each.name in names]
        if adopted:
            print(f"{what}: {sum(adopted)} of {len(adopted)} adopted")
            share = sum(adopted) / len(adopted)
            missed |= share < MIN_ADOPTED if what == "genuine" else share > MAX_ADOPTED_BY_CHANCE
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
