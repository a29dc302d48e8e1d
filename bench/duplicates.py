"""Measure the precision and recall of duplicates among look-alikes, and the time for a large collection.

    python bench/duplicates.py --photographs FOLDER --kinds FOLDER [--images 100000] [--cache FILE] [--false FOLDER]

The photographs all differ; the kinds have a sub-folder for each kind of object. A collection consists of photographs,
copies of each of them, and the images of the kinds as look-alikes:
  crop      crop to 60 % of the area
  rotation  rotation by 3 to 12 degrees, on grey
  grey      greyscale
  jpeg      JPEG quality 35; the others have 90
  resized   to 40 % of width and height
Also measured, but not part of the totals: `crop 36` (36 % of the area), `turned 25` (by 15 to 35 degrees, with black
corners), and `turned 90` (by a quarter turn). The fillings and sizes that rotations leave are measured, too: `turned,
black` and `turned, larger` (3 to 12 degrees with black corners, without and with a larger canvas), and `crop, other
shape` (60 % of the area, in other proportions).

The first half has every other photograph and kind, the second half the others.
Recall is the share of copies in a group with their original. Precision is the share of pairs of images in a group that
are the original and copies of one photograph. Copies among the kinds, if there are any, count as false. `--false`
writes a picture of each such pair, so that they can be judged by eye. `vectors only`: without miniatures, as for images
that an older release embedded.

The large collection is synthetic: images whose coordinates along the principal directions come from 16 of the embedded
ones, and copies of a tenth of them, whose vectors differ from theirs as that of an embedded copy differs from its
original. `found` is the share of the planted pairs above the threshold that the search compares at all. The miniatures
of a pair are those of unrelated images, so that each pair costs the most that it can.
"""

import argparse
import asyncio
import io
import itertools
import json
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageOps

from bench.false_matches import embed_whole
from bench.parts.photographs import image_files
from bench.quality import crop, jpeg
from catalog.duplicates.miniatures import SIDE, Miniature
from catalog.vectors.projection import Matrix, normalised
from trainer.adapter.numerics import numerics_executor
from trainer.duplicates import search
from trainer.duplicates.comparison_space import ComparisonSpace
from trainer.duplicates.lookalikes import NEAR, Lookalikes
from trainer.duplicates.near_pairs import NearPairs, Pairs, cells
from trainer.duplicates.star_groups import star_groups
from trainer.duplicates.vector_file import VectorFile
from trainer.fetch.view_sample import MAX_VIEWED, VIEWS

COPIES = ("crop", "rotation", "grey", "jpeg", "resized")
FURTHER = ("crop 36", "turned 25", "turned 90", "turned, black", "turned, larger", "crop, other shape")
PLANTED_SHARE = 0.1
# Images that a synthetic one takes its coordinates from, along the principal directions in turn.
PARENTS = 16
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Images:
    """Embedded images. names: of the distortion, "" for an original. pictures: equal for copies of one photograph.

    kinds: -1 for photographs. vectors: base vectors [n, dim]. views: [n, VIEWS, dim], zero for copies. widths: of the
    miniatures. grey: their grey values [n, SIDE * SIDE], filled up with zeros. sizes: how many of these count.
    """

    names: list[str]
    pictures: np.ndarray
    kinds: np.ndarray
    vectors: Matrix
    views: Matrix
    widths: np.ndarray
    grey: np.ndarray
    sizes: np.ndarray

    def miniature(self, row: int) -> Miniature:
        """Return the miniature of an image."""
        return Miniature(int(self.widths[row]), self.grey[row, : self.sizes[row]].tobytes())

    def rows(self, half: int, names: Sequence[str]) -> np.ndarray:
        """Return the positions of the images of a collection: a half of photographs with copies, and of kinds."""
        wanted = np.isin(np.array(self.names), ["", *names])
        turn = np.where(self.kinds < 0, self.pictures, self.kinds)
        return np.flatnonzero(wanted & (turn % 2 == half))


def distorted(data: bytes, chance: random.Random) -> dict[str, bytes]:
    """Return the copies of an image by the name of the distortion."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side, bicubic = chance.choice((-1, 1)), Image.Resampling.BICUBIC
    small = image.resize((round(image.width * 0.4), round(image.height * 0.4)), Image.Resampling.LANCZOS)
    rotated = image.rotate(side * chance.uniform(3, 12), bicubic, fillcolor=(127, 127, 127))
    copies = {
        "crop": crop(image, chance, 0.6, 0.6),
        "rotation": rotated,
        "grey": ImageOps.grayscale(image),
        "resized": small,
        "crop 36": crop(image, chance, 0.36, 0.36),
        "turned 25": image.rotate(side * chance.uniform(15, 35), bicubic, expand=True),
        "turned 90": image.transpose(chance.choice((Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270))),
        "turned, black": image.rotate(side * chance.uniform(3, 12), bicubic),
        "turned, larger": image.rotate(side * chance.uniform(3, 12), bicubic, expand=True),
        "crop, other shape": reshaped(image, chance),
    }
    return {name: jpeg(copy, 90) for name, copy in copies.items()} | {"jpeg": jpeg(image, 35)}


def reshaped(image: Image.Image, chance: random.Random) -> Image.Image:
    """Return a crop to 60 % of the area that is narrower or flatter than the image."""
    across = chance.uniform(0.65, 0.92)
    width, height = round(image.width * across), round(image.height * 0.6 / across)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def embedded(photographs: Path, kinds: Path) -> Images:
    """Embed all images with the real embedder."""
    chance = random.Random(0)
    encoded: list[bytes] = []
    names: list[str] = []
    pictures: list[int] = []
    labels: list[int] = []
    for number, path in enumerate(image_files(photographs)):
        data = path.read_bytes()
        for name, copy in {"": data, **distorted(data, chance)}.items():
            encoded.append(copy)
            names.append(name)
            pictures.append(number)
            labels.append(-1)
    number = 1_000_000
    for label, folder in enumerate(sorted(path for path in kinds.iterdir() if path.is_dir())):
        for path in image_files(folder):
            number += 1
            encoded.append(path.read_bytes())
            names.append("")
            pictures.append(number)
            labels.append(label)
    originals = [row for row, name in enumerate(names) if not name]
    copies = [row for row, name in enumerate(names) if name]
    vectors: list[Matrix] = [np.zeros((1, 1), np.float32)] * len(names)
    miniatures = [Miniature(0, b"")] * len(names)
    for rows, count in ((originals, VIEWS), (copies, 0)):
        for row, found in zip(rows, asyncio.run(embed_whole([encoded[row] for row in rows], count)), strict=True):
            vectors[row] = normalised(np.vstack([found.vector[np.newaxis], found.views.reshape(-1, len(found.vector))]))
            assert found.miniature is not None, "the embedder is of this release"  # noqa: S101
            miniatures[row] = found.miniature
    dim = vectors[0].shape[1]
    views = np.zeros((len(names), VIEWS, dim), np.float32)
    views[originals] = np.stack([vectors[row][1:] for row in originals])
    grey = np.zeros((len(names), SIDE * SIDE), np.uint8)
    for row, small in enumerate(miniatures):
        grey[row, : len(small.pixels)] = small.grey.ravel()
    widths, sizes = (np.array([size(small) for small in miniatures]) for size in (_width, _size))
    base = np.stack([row[0] for row in vectors])
    return Images(names, np.array(pictures), np.array(labels), base, views, widths, grey, sizes)


def _width(small: Miniature) -> int:
    return small.width


def _size(small: Miniature) -> int:
    return len(small.pixels)


def cached(file: Path | None, photographs: Path, kinds: Path) -> Images:
    """Return the embedded images from a file, or embed them and write it."""
    if file is not None and file.exists():
        with np.load(file) as stored:
            return Images(stored["names"].tolist(), *(stored[name] for name in NUMBERS))
    found = embedded(photographs, kinds)
    if file is not None:
        with file.open("wb") as out:
            np.savez(out, names=np.array(found.names), **{name: getattr(found, name) for name in NUMBERS})
    return found


NUMBERS = ("pictures", "kinds", "vectors", "views", "widths", "grey", "sizes")


def near_pairs(vectors: Matrix, least: float) -> Pairs:
    """Return the near pairs as the search finds them."""
    near = NearPairs(vectors, least)
    near.compare(cells(vectors))
    return near.pairs()


def copies(images: Images, rows: np.ndarray, *, compared: bool) -> Pairs:
    """Return the pairs of copies among some images as the search finds them. compared: by their miniatures, too."""
    seen = rows[[not images.names[row] for row in rows]]
    space = ComparisonSpace.of(images.vectors[rows], [images.vectors[seen]], [images.views[seen]])
    found = Lookalikes(near_pairs(space.apply(images.vectors[rows]), NEAR), np.arange(len(rows)))
    for part in found.parts() if compared else ():
        found.compare(part, {position: images.miniature(rows[position]) for position in found.images_of(part)})
    return found.copies()


def measured(
    images: Images, half: int, names: Sequence[str], *, compared: bool = True
) -> tuple[dict[str, float], list[tuple[int, int, float]]]:
    """Return precision and recall of a collection, and the false pairs: two positions and the group's score."""
    rows = images.rows(half, names)
    groups = star_groups(copies(images, rows, compared=compared), len(rows))
    pictures, labels = images.pictures[rows], np.array([images.names[row] for row in rows])
    originals = {int(pictures[row]): row for row in np.flatnonzero(labels == "")}
    group_of = np.full(len(rows), -1)
    right, wrong = 0, []
    for number, group in enumerate(groups):
        group_of[group.members] = number
        for one, other in itertools.combinations(group.members, 2):
            if pictures[one] == pictures[other]:
                right += 1
            else:
                wrong.append((int(rows[one]), int(rows[other]), group.score))
    own = np.array([group_of[originals[int(picture)]] for picture in pictures])
    joined = (group_of == own) & (own >= 0)
    by_name = {name: float(joined[labels == name].mean()) for name in names}
    among = np.isin(labels, COPIES)
    figures = {"precision": right / max(right + len(wrong), 1), "false": float(len(wrong))}
    return figures | {"recall": float(joined[among].mean()) if among.any() else 1.0} | by_name, wrong


def draw(pairs: Sequence[tuple[int, int, float]], images: Images, files: Sequence[Path], folder: Path) -> None:
    """Write a picture of each pair of originals. files: in the order of the originals."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = [row for row, name in enumerate(images.names) if not name]
    file_of = dict(zip(originals, files, strict=True))
    for one, other, score in pairs:
        if one in file_of and other in file_of:
            sheet = Image.new("RGB", (600, 300), "white")
            for left, row in ((0, one), (300, other)):
                with Image.open(file_of[row]) as image:
                    sheet.paste(ImageOps.contain(image.convert("RGB"), (298, 298)), (left, 0))
            sheet.save(folder / f"{score:.3f}_{one}_{other}.jpg")


def synthetic(images: Images, count: int) -> tuple[Matrix, np.ndarray]:
    """Return base vectors [count, dim] with the geometry of the embedded ones, and the planted pairs [m, 2]."""
    chance = np.random.default_rng(0)
    originals = np.flatnonzero([not name for name in images.names])
    copies = np.flatnonzero(np.isin(np.array(images.names), COPIES))
    original_of = {int(images.pictures[row]): row for row in originals}
    unit = normalised(images.vectors)
    changes = unit[copies] - unit[[original_of[int(images.pictures[row])] for row in copies]]
    planted = round(count * PLANTED_SHARE)
    different, dim = count - planted, unit.shape[1]
    mean = unit[originals].mean(axis=0)
    centred = unit[originals] - mean
    directions = np.linalg.eigh(centred.T @ centred)[1].astype(np.float32)
    places = centred @ directions
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, different, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, different - start)
        for part in range(PARENTS):
            columns = slice(part, None, PARENTS)
            vectors[start : start + size, columns] = places[chance.integers(0, len(places), size)][:, columns]
        vectors[start : start + size] = normalised(vectors[start : start + size] @ directions.T + mean)
    of = chance.choice(different, planted, replace=False)
    vectors[different:] = vectors[of] + changes[chance.integers(0, len(changes), planted)]
    order = chance.permutation(count)
    place = np.argsort(order)
    return vectors[order], np.sort(np.stack([place[of], place[different:]], axis=1), axis=1)


def large(images: Images, count: int) -> dict[str, float]:
    """Compare the images of a large collection as the search does, on one thread, without reading the vectors."""
    vectors, planted = synthetic(images, count)
    seen = np.flatnonzero([not name for name in images.names])[:MAX_VIEWED]
    pictured = len(images.names)
    with numerics_executor() as executor, tempfile.TemporaryFile() as file:
        stored = VectorFile(file)
        for start in range(0, count, ROWS_AT_ONCE):
            stored.add(vectors[start : start + ROWS_AT_ONCE])
        del vectors

        def compare() -> tuple[Pairs, dict[str, float]]:
            times = {"began": time.perf_counter()}
            space = ComparisonSpace.of(stored.sample(search.SAMPLE), [images.vectors[seen]], [images.views[seen]])
            times["space"] = time.perf_counter()
            for rows in stored.blocks():
                stored.replace(rows, space.apply)
            times["mapping"] = time.perf_counter()
            compared = cells(stored.vectors())
            times["cells"] = time.perf_counter()
            near = NearPairs(stored.vectors(), NEAR)
            near.compare(compared)
            pairs = near.pairs()
            times["pairs"] = time.perf_counter()
            found = Lookalikes(pairs, np.arange(count))
            for part in found.parts():
                found.compare(part, {place: images.miniature(place % pictured) for place in found.images_of(part)})
            times["miniatures"] = time.perf_counter()
            star_groups(found.copies(), count)
            times["groups"] = time.perf_counter()
            return pairs, times

        pairs, times = executor.submit(compare).result()
        mapped = stored.vectors()
        scores = np.concatenate(
            [
                (mapped[part[:, 0]].astype(np.float32) * mapped[part[:, 1]]).sum(axis=1)
                for part in np.array_split(planted, max(1, len(planted) // ROWS_AT_ONCE))
            ]
        )
    near = planted[scores >= NEAR]
    keys = set((pairs.first * count + pairs.second).tolist())
    steps = dict(zip(list(times)[1:], np.diff(list(times.values())).tolist(), strict=True))
    return {
        "images": float(count),
        "seconds": times["groups"] - times["began"],
        **{f"seconds {name}": seconds for name, seconds in steps.items()},
        "pairs": float(len(pairs)),
        "planted pairs above the threshold": float(len(near)),
        "found": float(np.mean([key in keys for key in (near[:, 0] * count + near[:, 1]).tolist()])),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "load": psutil.getloadavg()[0],
    }


def main() -> None:
    """Run the benchmark and print tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs that all differ")
    parser.add_argument("--kinds", type=Path, required=True, help="folder with a sub-folder for each kind of object")
    parser.add_argument("--images", type=int, default=100_000, help="size of the large collection; 0: none")
    parser.add_argument("--cache", type=Path, help="file that keeps the embedded images")
    parser.add_argument("--false", type=Path, help="folder for pictures of the false pairs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    images = cached(options.cache, options.photographs, options.kinds)
    answer: dict[str, list[dict[str, float]]] = {}
    wrong: set[tuple[int, int, float]] = set()
    for half, title in enumerate(("first half", "second half")):
        found, pairs = measured(images, half, COPIES)
        answer[title] = [found]
        wrong.update(pairs)
        each = [measured(images, half, [name])[0] for name in COPIES]
        answer[f"{title}, one copy each"] = [{"copy": number} | one for number, one in enumerate(each)]
        answer[f"{title}, vectors only"] = [measured(images, half, COPIES, compared=False)[0]]
        answer[f"{title}, with further copies"] = [measured(images, half, (*COPIES, *FURTHER))[0]]
    if options.false:
        folders = [options.photographs, *sorted(path for path in options.kinds.iterdir() if path.is_dir())]
        draw(sorted(wrong), images, [path for folder in folders for path in image_files(folder)], options.false)
    if options.images:
        answer["large"] = [large(images, options.images)]
    if options.json:
        print(json.dumps(answer, indent=2))
        return
    for title, tables in answer.items():
        print(title)
        for row in tables:
            print("  " + "  ".join(f"{name} {value:.4g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
