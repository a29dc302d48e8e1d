"""Measure whether false match rates are what they claim to be: `python bench/false_matches.py --photographs FOLDER`.

    python bench/false_matches.py --photographs FOLDER --kinds FOLDER [--situation NAME ...] [--seeds 3] [--cache DIR]

The photographs all differ; the kinds have a sub-folder for each kind of object. The embedder is the real one. The
adapter is trained and calibrated by the trainer's code, and the scores are exact cosine similarities, so no other
service runs. The situations say what a collection is made of; what is not in it are the strangers:
  photographs   three quarters of the photographs
  mixed_small   200 of all images, each its own entry
  mixed_large   all images but 180, each its own entry
  alone         300 images of the kinds, each its own entry
  threes        the same in entries of three images of a kind
  entries       two thirds of the kinds, each one entry; the strangers are the other kinds and the photographs
  both          those, and half of the photographs, each its own entry
  tiles_1000    1,000 tiles of all images, nine of each, each its own entry; the strangers are tiles of other images
  tiles_2500    the same with 2,500 tiles
  tiles_5000    the same with 5,000 tiles

Each line is the mean over the seeds. `below 1, 5, 10 %`: the share of strangers whose best result has a lower false
match rate. It should be at most 2, 8 and 15 %. `copies`: the share of distorted copies (as in bench/quality.py) of
indexed images whose original has a rate below 5 %. It should be at least 90 %. `nonsense`: the share of noise, blank
pages and screenshots whose best result has a rate above 50 %. `score only`: the same without runner-ups.

An image outside that is a version of one in the collection is no stranger. `with versions` is the share below 1 % if
it counts as one. The last line of a situation has, for each seed, the images in the collection, the strangers, and the
images outside.
"""

import argparse
import asyncio
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from prometheus_client import CollectorRegistry

from bench.parts.photographs import image_files
from bench.parts.views.look_alikes import look_alikes
from bench.parts.views.photograph_tiles import tiles
from bench.quality import copied
from catalog.vectors.false_matches import RUNNER_UPS, FalseMatches
from catalog.vectors.projection import Matrix, normalised
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.integration.embedder_process import running_embedder
from trainer.adapter.calibration import false_matches, typical
from trainer.adapter.fit import training_steps
from trainer.embed.client import BulkEmbedder
from trainer.embed.stream import Embedded
from trainer.fetch.view_sample import VIEWS
from trainer.learning.dataset import Labels, TrainingSet, usable_groups
from trainer.learning.directions import DIMENSION, accumulate, principal_directions
from trainer.learning.head import Hyperparameters
from trainer.learning.pictures import same_pictures
from trainer.learning.strangers import NOTHING, Strangers, objects_of
from trainer.learning.train import train_adapter

TILED = {"tiles_1000": 1000, "tiles_2500": 2500, "tiles_5000": 5000}
SITUATIONS = ("photographs", "mixed_small", "mixed_large", "alone", "threes", "entries", "both", *TILED)
COPIES = 2
# Above this cosine similarity in the frozen space, an image is a version of a picture in the collection: mirrored, in
# another size, or of the same animation. Fewer than one distorted copy in ten reaches it.
SAME = 0.9
# Of the tiles, one in so many has views and copies.
SHOWN_TILES = 5
# The kind of an image that has none.
ALONE = -1
LIMITS = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Images:
    """All images of the data. kinds: int64 [n], ALONE for a photograph. vectors: unit base vectors [n, dim].

    shown: int64 [s], which of them have views and copies. views: [s, VIEWS, dim]. copies: [s, COPIES, dim], distorted.
    nonsense: [m, dim].
    """

    kinds: Labels
    vectors: Matrix
    shown: Labels
    views: Matrix
    copies: Matrix
    nonsense: Matrix


@dataclass(frozen=True)
class Situation:
    """A collection. inside, outside: the positions of its images and of the strangers. groups: of those inside."""

    inside: Labels
    outside: Labels
    groups: Labels


def png(image: Image.Image) -> bytes:
    """Return the image as PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def noise(chance: np.random.Generator, grain: int) -> bytes:
    """Return random pixels, in squares of `grain` pixels that are smoothed into each other."""
    width, height = (int(size) for size in chance.integers(100, 900, 2))
    pixels = chance.integers(0, 256, (height // grain + 1, width // grain + 1, 3), dtype=np.uint8)
    return png(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def blank(chance: np.random.Generator) -> bytes:
    """Return a page of one colour."""
    return png(Image.new("RGB", (600, 800), tuple(int(value) for value in chance.integers(0, 256, 3))))


def screenshot(chance: np.random.Generator) -> bytes:
    """Return a drawing of a window with a title bar, a side bar, lines of text and coloured boxes."""
    dark = chance.random() < 0.3
    image = Image.new("RGB", (1280, 800), (30, 30, 36) if dark else (250, 250, 250))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 1280, 48), fill=tuple(int(value) for value in chance.integers(0, 255, 3)))
    draw.rectangle((0, 48, 220, 800), fill=(45, 45, 52) if dark else (235, 238, 242))
    for line in range(int(chance.integers(8, 30))):
        words = ["".join(map(chr, chance.integers(97, 123, chance.integers(2, 10)))) for _ in range(8)]
        ink = (220, 220, 220) if dark else (40, 40, 40)
        draw.text((240, 60 + line * 24), " ".join(words), fill=ink, font=ImageFont.load_default(14))
    for _ in range(int(chance.integers(0, 6))):
        left, top, width, height = (int(value) for value in chance.integers((700, 80, 40, 20), (1100, 650, 160, 120)))
        draw.rectangle((left, top, left + width, top + height), fill=tuple(map(int, chance.integers(0, 255, 3))))
    return png(image)


async def embed(images: Sequence[bytes], views: int) -> list[Matrix]:
    """Return for each image its unit vector and those of its views, [1 + views, dim]."""
    found = await embed_whole(images, views)
    return [normalised(np.vstack([one.vector[np.newaxis], one.views.reshape(-1, len(one.vector))])) for one in found]


async def embed_whole(images: Sequence[bytes], views: int) -> list[Embedded]:
    """Return what the embedder makes of each image."""
    async with running_embedder() as embedder, open_channel(embedder.target) as channel:
        client = BulkEmbedder(channel, RpcClientMetrics(CollectorRegistry()), patience_seconds=30)
        stream = client.stream(await client.describe())
        places = asyncio.Semaphore(64)

        async def one(image: bytes) -> Embedded:
            async with places:
                return await stream.embed(image, views)

        async with stream.connected():
            return list(await asyncio.gather(*map(one, images)))


def files(photographs: Path, kinds: Path) -> list[tuple[int, bytes]]:
    """Return all images of the data, each with its kind."""
    folders = [photographs, *sorted(path for path in kinds.iterdir() if path.is_dir())]
    return [
        (number - 1 if number else ALONE, path.read_bytes())
        for number, folder in enumerate(folders)
        for path in image_files(folder)
    ]


def embedded(images: list[tuple[int, bytes]], every: int) -> Images:
    """Embed images with their kinds, and views and copies of one in `every` of them."""
    chance, pixels = random.Random(0), np.random.default_rng(0)
    shown = np.arange(0, len(images), every)
    others = np.setdiff1d(np.arange(len(images)), shown)
    copies = [copied(images[row][1], chance) for row in shown for _ in range(COPIES)]
    nonsense = [noise(pixels, grain) for grain in (1, 8) for _ in range(20)]
    nonsense += [blank(pixels) for _ in range(20)] + [screenshot(pixels) for _ in range(20)]
    with_views = np.stack(asyncio.run(embed([images[row][1] for row in shown], VIEWS)))
    alone = [*(images[row][1] for row in others), *copies, *nonsense]
    without = np.stack(asyncio.run(embed(alone, 0)))[:, 0]
    vectors = np.empty((len(images), without.shape[1]), np.float32)
    vectors[shown], vectors[others] = with_views[:, 0], without[: len(others)]
    copied_vectors, nonsense_vectors = np.split(without[len(others) :], [len(copies)])
    return Images(
        kinds=np.array([kind for kind, _ in images], dtype=np.int64),
        vectors=vectors,
        shown=shown,
        views=with_views[:, 1:],
        copies=copied_vectors.reshape(len(shown), COPIES, -1),
        nonsense=nonsense_vectors,
    )


def tile_situation(count: int, images: Labels, seed: int) -> Situation:
    """Return so many tiles. images: int64 [n], the image that each tile is of. The others are the strangers."""
    order = np.random.default_rng(seed).permutation(np.unique(images))
    rank = np.argsort(order)[np.searchsorted(np.unique(images), images)]
    inside = np.argsort(rank, kind="stable")[:count]
    outside = np.flatnonzero(~np.isin(images, images[inside]))
    return Situation(inside, outside, np.arange(count))


def situation(name: str, kinds: Labels, seed: int) -> Situation:
    """Return what is in the collection and what is not."""
    chance = np.random.default_rng(seed)
    everything, photographs = chance.permutation(len(kinds)), chance.permutation(np.flatnonzero(kinds == ALONE))
    objects, names = (
        chance.permutation(np.flatnonzero(kinds != ALONE)),
        chance.permutation(np.unique(kinds[kinds >= 0])),
    )
    known = np.isin(kinds[objects], names[: 2 * len(names) // 3])
    half = len(photographs) // 2
    inside = {
        "photographs": photographs[: 3 * len(photographs) // 4],
        "mixed_small": everything[:200],
        "mixed_large": everything[:-180],
        "alone": objects[:300],
        "threes": objects[:300],
        "entries": objects[known],
        "both": np.concatenate([objects[known], photographs[:half]]),
    }[name]
    possible = {"photographs": photographs, "alone": objects, "threes": objects}.get(name, everything)
    # Beyond every kind, so that each image is an entry of its own.
    groups = np.arange(len(inside)) + 10_000
    if name in ("entries", "both"):
        groups = np.where(kinds[inside] == ALONE, groups, kinds[inside])
    if name == "threes":
        for kind in np.unique(kinds[inside]):
            rows = np.flatnonzero(kinds[inside] == kind)
            groups[rows] = 100 * kind + np.arange(len(rows)) // 3
    return Situation(inside, np.setdiff1d(possible, inside), groups)


def absent(images: Images, given: Situation) -> Labels:
    """Return the strangers that are no version of a picture in the collection."""
    inside = images.vectors[given.inside].T
    return given.outside[[(images.vectors[row] @ inside).max() <= SAME for row in given.outside]]


def shown_inside(images: Images, given: Situation) -> tuple[Labels, Labels]:
    """Return the positions inside of the images that have views, and their positions among those with views."""
    rows = np.flatnonzero(np.isin(given.inside, images.shown))
    return rows, np.searchsorted(images.shown, given.inside[rows])


class Collection:
    """A trained and calibrated collection."""

    def __init__(self, images: Images, given: Situation) -> None:
        vectors = images.vectors[given.inside]
        rows, shown = shown_inside(images, given)
        views = images.views[shown]
        half = np.float16
        self._data = TrainingSet(
            vectors.astype(half), usable_groups(given.groups), views.astype(half), rows, same_pictures(vectors)
        )
        moment = np.zeros((vectors.shape[1], vectors.shape[1]))
        for each in (vectors, views.reshape(-1, vectors.shape[1])):
            accumulate(moment, each)
        pca = principal_directions(moment, DIMENSION)
        steps = training_steps(len(vectors))
        found = train_adapter(self._data, pca, None, Hyperparameters(steps=steps), lambda _: None)
        self.adapter, self._head = found.adapter, found.head
        self._mean, least = typical(self._data.vectors)
        matches = false_matches(found.strangers, found.gallery_size, len(vectors))
        self.matches = replace(matches, least_typical=least)
        self._tuned = normalised(vectors @ found.head)

    def rates(self, queries: Matrix, matches: FalseMatches, expected: Labels | None = None) -> Matrix:
        """Return the false match rate [q] of each query's best result, or of the expected image."""
        objects = objects_of(self._data)
        none = np.full(len(queries), objects.min() - 1)
        asked = Strangers(queries, none, none, self._data.vectors, objects, self._data.pictures)
        best = asked.best_scores(self._head, 1 + RUNNER_UPS)
        scores = best[:, 0]
        if expected is not None:
            scores = (normalised(queries @ self._head) * self._tuned[expected]).sum(axis=1)
        found = [
            matches.rate(float(score), [float(each) for each in row[1:] if each > NOTHING], float(query @ self._mean))
            for score, row, query in zip(scores, best, queries, strict=True)
        ]
        return np.array(found, dtype=np.float32)


def measure(images: Images, name: str, seed: int) -> tuple[list[float], list[float], str]:
    """Return the figures of a situation in percent, with runner-ups and by the score only, and its adapter."""
    given = tile_situation(TILED[name], images.kinds, seed) if name in TILED else situation(name, images.kinds, seed)
    collection = Collection(images, given)
    inside, shown = shown_inside(images, given)
    copies = images.copies[shown].reshape(-1, images.vectors.shape[1])
    expected = np.repeat(inside, COPIES)
    strangers = absent(images, given)
    rows = []
    for matches in (collection.matches, FalseMatches(collection.matches.scores)):
        unknown, all_unknown = (collection.rates(images.vectors[some], matches) for some in (strangers, given.outside))
        found = collection.rates(copies, matches, expected)
        nonsense = collection.rates(images.nonsense, matches)
        shares = [*((unknown < limit).mean() for limit in LIMITS), (found < 0.05).mean(), (nonsense > 0.5).mean()]
        rows.append([100 * float(share) for share in (*shares, (all_unknown < LIMITS[0]).mean())])
    return rows[0], rows[1], f"{len(given.inside)}/{len(strangers)} of {len(given.outside)} {collection.adapter}"


def load(cache: Path | None, photographs: Path, kinds: Path) -> Images:
    """Return the embedded images, from the cache if it has them."""
    return _cached(cache and cache / "images.npz", lambda: embedded(files(photographs, kinds), 1))


def load_look_alikes(cache: Path | None, photographs: Path, kinds: Path) -> Images:
    """Return the embedded images of bench/parts/views/look_alikes.py, from the cache if it has them."""
    return _cached(cache and cache / "look-alikes.npz", lambda: embedded(look_alikes(photographs, kinds), 1))


def load_tiles(cache: Path | None, photographs: Path, kinds: Path) -> Images:
    """Return the embedded tiles, from the cache if it has them. Their kinds are the numbers of their images."""

    def made() -> Images:
        cut = [(number, tile) for number, (_, data) in enumerate(files(photographs, kinds)) for tile in tiles(data)]
        return embedded(cut, SHOWN_TILES)

    return _cached(cache and cache / "tiles.npz", made)


def _cached(file: Path | None, make: Callable[[], Images]) -> Images:
    if file is not None and file.exists():
        with np.load(file) as stored:
            return Images(**stored)
    images = make()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **vars(images))
    return images


def _loader(name: str) -> Callable[[Path | None, Path, Path], Images]:
    return load_tiles if name in TILED else load


def main() -> None:
    """Measure all situations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--kinds", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--situation", nargs="*", choices=SITUATIONS, default=SITUATIONS)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="a folder that keeps the vectors for the next run")
    options = parser.parse_args()
    data = options.cache, options.photographs, options.kinds
    sets = {load_of: load_of(*data) for load_of in {_loader(name) for name in options.situation}}
    print(f"{'':26}{'below 1 %':>10}{'5 %':>7}{'10 %':>7}{'copies':>9}{'nonsense':>10}{'with versions':>15}")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for name in options.situation:
        measured = [measure(sets[_loader(name)], name, seed) for seed in seeds]
        for label, rows in ((name, [each[0] for each in measured]), ("  score only", [each[1] for each in measured])):
            one, five, ten, copies, nonsense, versions = np.mean(rows, axis=0)
            shares = f"{one:>10.1f}{five:>7.1f}{ten:>7.1f}{copies:>9.1f}{nonsense:>10.1f}{versions:>15.1f}"
            print(f"{label:26}{shares}", flush=True)
        print(f"  {', '.join(each[2] for each in measured)}", flush=True)


if __name__ == "__main__":
    main()
