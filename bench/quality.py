"""Measure what finetuning improves, with the real services, from upload to search.

    python bench/quality.py --data FOLDER [--seed N] [--scenario NAME ...] [--json FILE]

FOLDER has one sub-folder for each kind of object, or loose images that are all different. The scenarios for kinds say
what is known of them, that is, which images share a repository URL:
  grouped   each kind is one entry
  half      a random half of the kinds, A, are entries; the images of the others, B, are entries of their own
  threes    entries of three images of a kind
  none      each image is its own entry
  shuffled  the entries are noise
  growing   a random third of the kinds, B, comes after a finetune without it, and another finetune follows

Each scenario asks three questions. `kinds`: every fifth image of a kind, from the seed's one on, is a query and is not
uploaded; images of its kind are right. `copies`: a distorted copy of an uploaded image (a part with 55 to 80 % of the
area, turned by up to 12 degrees, other brightness and colours, perhaps blurred, JPEG quality 35 to 90); that image is
right. `entries`: the same copies; images of its entry are right.

Loose images have the scenario `single`: each is searched with three distorted versions of itself.
  crop    a part with 20 to 45 % of the area, JPEG quality 40
  turn    turned by 15 to 35 degrees, in grey, JPEG quality 30
  blur    a part with 50 to 80 % of the area, Gaussian blur with a radius of 0.8 % of the longer side, JPEG quality 30

`frozen` and `pca` are computed from the embedder's vectors, `tuned` is what search answers. mAP is over the whole
ranking, or its first 1000 places. For `copies` it is the mean reciprocal rank.
"""

import argparse
import asyncio
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from prometheus_client import CollectorRegistry

from bench.parts.photographs import image_files
from catalog.vectors.projection import Matrix, normalised
from demo.image_server import image_server
from demo.instance import instance
from demo.rest_client import RestClient
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.integration.embedder_process import running_embedder
from trainer.embed.client import BulkEmbedder
from trainer.learning.directions import accumulate, principal_directions
from trainer.learning.evaluation import retrieve

# One image in so many is a query and is not uploaded.
QUERY_EVERY = 5
MAX_RESULTS = 1000
# Figures by space (frozen, pca, tuned), part of the queries, and metric.
Spaces = dict[str, dict[str, dict[str, float]]]
POLL_SECONDS = 0.5
KINDS, COPIES_OF_IMAGES, ENTRIES = "kinds", "copies", "entries"
# Copies that are asked with.
COPIES = 200
OBJECT_SCENARIOS = ("grouped", "half", "threes", "none", "shuffled", "growing")


@dataclass(frozen=True)
class Photograph:
    """An image of the data. label: what counts as found; uploaded_as: its repository URL's end."""

    name: str
    data: bytes
    label: int
    uploaded_as: str


@dataclass(frozen=True)
class Task:
    """What is uploaded, and the queries by question. at_first: the part of it that is finetuned alone before."""

    database: list[Photograph]
    queries: dict[str, list[Photograph]]
    at_first: list[Photograph]


def crop(image: Image.Image, chance: random.Random, low: float, high: float) -> Image.Image:
    """Return a random crop with the image's proportions and `low` to `high` of its area."""
    side = chance.uniform(low, high) ** 0.5
    width, height = round(image.width * side), round(image.height * side)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def jpeg(image: Image.Image, quality: int) -> bytes:
    """Return the image as JPEG."""
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


def copied(data: bytes, chance: random.Random) -> bytes:
    """Return a distorted copy, such as a scan of a print or a download would be."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    turned = image.rotate(chance.uniform(-12, 12), Image.Resampling.BILINEAR, fillcolor=(127, 127, 127))
    copy = crop(turned, chance, 0.55, 0.8)
    copy = ImageEnhance.Brightness(copy).enhance(chance.uniform(0.7, 1.3))
    copy = ImageEnhance.Color(copy).enhance(chance.uniform(0.4, 1.6))
    if chance.random() < 0.5:
        copy = copy.filter(ImageFilter.GaussianBlur(max(copy.size) / 224 * chance.uniform(0.3, 1.5)))
    return jpeg(copy, chance.randint(35, 90))


def distorted(data: bytes, chance: random.Random) -> dict[str, bytes]:
    """Return the three queries that are made from one image."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    angle = chance.choice((-1, 1)) * chance.uniform(15, 35)
    turned = ImageOps.grayscale(image.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC))
    blurred = crop(image, chance, 0.5, 0.8).filter(ImageFilter.GaussianBlur(0.008 * max(image.size)))
    return {"crop": jpeg(crop(image, chance, 0.2, 0.45), 40), "turn": jpeg(turned, 30), "blur": jpeg(blurred, 30)}


def object_task(folder: Path, seed: int, scenario: str) -> Task:
    """Return kinds of objects with several images each, some of which are the queries."""
    chance = random.Random(seed)
    kinds = sorted(path for path in folder.iterdir() if path.is_dir())
    others = set(chance.sample(range(len(kinds)), len(kinds) // (3 if scenario == "growing" else 2)))
    parted = scenario in ("half", "growing")
    database: list[Photograph] = []
    queries: dict[str, list[Photograph]] = {}
    for label, folder_of_kind in enumerate(kinds):
        part = f"{KINDS} {'B' if label in others else 'A'}" if parted else KINDS
        uploaded = 0
        for position, path in enumerate(image_files(folder_of_kind)):
            name = f"{label}-{path.name}"
            if position % QUERY_EVERY == seed % QUERY_EVERY:
                queries.setdefault(part, []).append(Photograph(name, path.read_bytes(), label, ""))
                continue
            alone = scenario == "none" or (scenario == "half" and label in others)
            entry = f"{label}-{uploaded // 3}" if scenario == "threes" else folder_of_kind.name
            database.append(Photograph(name, path.read_bytes(), label, name if alone else entry))
            uploaded += 1
    if scenario == "shuffled":
        ends = chance.sample([photograph.uploaded_as for photograph in database], len(database))
        database = [replace(each, uploaded_as=end) for each, end in zip(database, ends, strict=True)]
    copies = [replace(each, data=copied(each.data, chance)) for each in chance.sample(database, COPIES)]
    queries |= {COPIES_OF_IMAGES: copies, ENTRIES: copies}
    at_first = [each for each in database if each.label not in others] if scenario == "growing" else []
    return Task(database, queries, at_first)


def single_task(folder: Path, seed: int) -> Task:
    """Return images that all differ, with distorted copies as queries."""
    chance = random.Random(seed)
    database = [
        Photograph(path.name, path.read_bytes(), label, path.name) for label, path in enumerate(image_files(folder))
    ]
    queries: dict[str, list[Photograph]] = {}
    for photograph in database:
        for kind, data in distorted(photograph.data, chance).items():
            queries.setdefault(kind, []).append(Photograph(photograph.name, data, photograph.label, ""))
    return Task(database, queries, [])


async def embed(photographs: Sequence[Photograph]) -> Matrix:
    """Return the frozen backbone's vectors [n, dim], from the real service."""
    async with running_embedder() as embedder, open_channel(embedder.target) as channel:
        client = BulkEmbedder(channel, RpcClientMetrics(CollectorRegistry()), patience_seconds=30)
        stream = client.stream(await client.describe())
        places = asyncio.Semaphore(64)

        async def one(photograph: Photograph) -> Matrix:
            async with places:
                return (await stream.embed(photograph.data)).vector

        async with stream.connected():
            return np.stack(await asyncio.gather(*(one(photograph) for photograph in photographs)))


def right_for(question: str, photograph: Photograph) -> str:
    """Return the label that a query shares with its correct results."""
    if question == COPIES_OF_IMAGES:
        return photograph.name
    return photograph.uploaded_as if question == ENTRIES else str(photograph.label)


def figures(rank: Callable[[list[Photograph]], tuple[Matrix, Matrix]], task: Task) -> dict[str, dict[str, float]]:
    """Return recall and mAP of a space, by question."""
    found = {}
    for question, asked in task.queries.items():
        queries, database = rank(asked)
        right = [right_for(question, photograph) for photograph in [*task.database, *asked]]
        _, labels = np.unique(right, return_inverse=True)
        count = len(task.database)
        found[question] = retrieve(queries, labels[count:], database, labels[:count]).means()
    return found


def measure_frozen_and_pca(task: Task) -> Spaces:
    """Return the metrics of the frozen space and of the plain PCA."""
    asked = [photograph for queries in task.queries.values() for photograph in queries]
    vectors = normalised(asyncio.run(embed([*task.database, *asked])))
    of = {id(photograph): vector for photograph, vector in zip([*task.database, *asked], vectors, strict=True)}
    database = vectors[: len(task.database)]
    moment = np.zeros((vectors.shape[1], vectors.shape[1]))
    accumulate(moment, database)
    basis = principal_directions(moment, 256)
    result = {}
    for space, projection in {"frozen": None, "pca": basis}.items():

        def rank(queries: list[Photograph], projection: Matrix | None = projection) -> tuple[Matrix, Matrix]:
            given = np.stack([of[id(photograph)] for photograph in queries])
            if projection is None:
                return given, database
            return normalised(given @ projection), normalised(database @ projection)

        result[space] = figures(rank, task)
    return result


def finetuned(client: RestClient, collection: int, photographs: list[Photograph], images: str) -> dict[str, Any]:
    """Upload and finetune. Return the collection's `info` and the seconds that it took."""
    rows = [
        f'"{images}{photograph.name}","https://repository.example.org/{photograph.uploaded_as}"'
        for photograph in photographs
    ]
    client.upload(collection, "\n".join(rows))
    began = time.perf_counter()
    client.finetune(collection)
    while (info := client.info(collection))["finetuning_state"] in ("queued", "running"):
        time.sleep(POLL_SECONDS)
    if info["finetuning_state"] != "done":
        raise SystemExit(f"the finetune ended as {info['finetuning_state']}: {info['finetuning_error']}")
    return info | {"finetune_seconds": round(time.perf_counter() - began, 1)}


def measure_tuned(task: Task, client: RestClient, images: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metrics of search after a finetune, and the collection's `info`."""
    collection = client.create(name)
    for photographs in filter(None, (task.at_first, task.database)):
        info = finetuned(client, collection, photographs, images)
    position = {f"{images}{photograph.name}": number for number, photograph in enumerate(task.database)}

    def rank(queries: list[Photograph]) -> tuple[Matrix, Matrix]:
        scores = np.full((len(queries), len(task.database)), -2.0, np.float32)
        for row, photograph in enumerate(queries):
            found = client.search(collection, photograph.data, num_results=min(MAX_RESULTS, len(task.database)))
            for result in found:
                scores[row, position[result["image_url"]]] = result["score"]
        # As vectors whose products with the unit vectors are the scores.
        return scores, np.eye(len(task.database), dtype=np.float32)

    return figures(rank, task), info


def show(name: str, spaces: Spaces) -> None:
    """Print a table."""
    print(f"\n{name:<22}{'recall@1':>10}{'recall@10':>11}{'mAP@10':>9}{'mAP':>9}")
    for part in next(iter(spaces.values())):
        for space, parts in spaces.items():
            row = parts[part]
            label = f"{part} {space}"
            print(
                f"{label:<22}{row['recall_at_1']:>10.4f}{row['recall_at_10']:>11.4f}"
                f"{row['map_at_10']:>9.4f}{row['map']:>9.4f}"
            )


def main() -> None:
    """Run the scenarios and print their metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenario", nargs="*", choices=(*OBJECT_SCENARIOS, "single"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    has_objects = any(path.is_dir() for path in options.data.iterdir())
    scenarios = options.scenario or (OBJECT_SCENARIOS if has_objects else ["single"])
    everything: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, instance(Path(folder), 0) as address:
        client = RestClient(address, (Path(folder) / "admin-key").read_text(encoding="ascii").strip())
        for scenario in scenarios:
            task = (
                single_task(options.data, options.seed)
                if scenario == "single"
                else object_task(options.data, options.seed, scenario)
            )
            with image_server({photograph.name: photograph.data for photograph in task.database}) as images:
                tuned, info = measure_tuned(task, client, images, scenario)
            spaces = {**measure_frozen_and_pca(task), "tuned": tuned}
            show(scenario, spaces)
            print(
                f"adapter: {info['quality']['adapter']}"
                f"{', continued' if info['quality'].get('continued') else ''}, {info['quality']['reason']}; "
                f"finetune {info['finetune_seconds']} s"
            )
            everything[scenario] = {"figures": spaces, "quality": info["quality"], "seconds": info["finetune_seconds"]}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
