"""Measure how much finetuning improves search, with the real services.

    python bench/quality.py --data FOLDER [--seed N] [--scenario NAME ...] [--json FILE]

FOLDER contains one sub-folder for each kind of object, or images that are all different. With kinds, a scenario
determines which images share a repository URL (an entry):
  grouped   all images of a kind are one entry
  half      each kind of a random half (A) is one entry; each image of the other kinds (B) is its own entry
  threes    an entry is three images of a kind
  none      each image is its own entry
  shuffled  entries of random images
  growing   finetune without a random third of the kinds (B), add it, finetune again

Each scenario has three query sets:
  kinds     every fifth image of a kind (the seed determines the first) is not uploaded; images of its kind are relevant
  copies    distorted copies of uploaded images (crop to 55 to 80 % of the area, rotation by up to 12 degrees, other
            brightness and colours, blur in half of them, JPEG quality 35 to 90); the original is relevant
  entries   the same copies; images of the original's entry are relevant

With images that are all different, the scenario is `single`. The queries are three distorted copies of each image:
  crop    crop to 20 to 45 % of the area, JPEG quality 40
  turn    rotation by 15 to 35 degrees, greyscale, JPEG quality 30
  blur    crop to 50 to 80 % of the area, Gaussian blur with a radius of 0.8 % of the longer side, JPEG quality 30

`frozen` and `pca` are computed from the embedder's vectors, `tuned` from the results of search. mAP covers the whole
ranking, or the first 1000 results of search. For `copies` it equals the mean reciprocal rank.
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
from trainer.learning.retrieval import retrieve

# Of each kind, one image in QUERY_EVERY is a query and is not uploaded.
QUERY_EVERY = 5
MAX_RESULTS = 1000
# Values by space (frozen, pca, tuned), query set and metric.
Spaces = dict[str, dict[str, dict[str, float]]]
POLL_SECONDS = 0.5
KINDS, COPIES_OF_IMAGES, ENTRIES = "kinds", "copies", "entries"
# Number of distorted copies.
COPIES = 200
OBJECT_SCENARIOS = ("grouped", "half", "threes", "none", "shuffled", "growing")


@dataclass(frozen=True)
class Photograph:
    """An image. label: its kind, or its number if all differ. uploaded_as: the end of its repository URL."""

    name: str
    data: bytes
    label: int
    uploaded_as: str


@dataclass(frozen=True)
class Task:
    """The images to upload, and the queries by query set. at_first: the images of an earlier finetune."""

    gallery: list[Photograph]
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
    """Return a distorted copy that resembles a scan of a print or a downloaded image."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    turned = image.rotate(chance.uniform(-12, 12), Image.Resampling.BILINEAR, fillcolor=(127, 127, 127))
    copy = crop(turned, chance, 0.55, 0.8)
    copy = ImageEnhance.Brightness(copy).enhance(chance.uniform(0.7, 1.3))
    copy = ImageEnhance.Color(copy).enhance(chance.uniform(0.4, 1.6))
    if chance.random() < 0.5:
        copy = copy.filter(ImageFilter.GaussianBlur(max(copy.size) / 224 * chance.uniform(0.3, 1.5)))
    return jpeg(copy, chance.randint(35, 90))


def distorted(data: bytes, chance: random.Random) -> dict[str, bytes]:
    """Return three distorted copies of an image, by scenario."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    angle = chance.choice((-1, 1)) * chance.uniform(15, 35)
    turned = ImageOps.grayscale(image.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC))
    blurred = crop(image, chance, 0.5, 0.8).filter(ImageFilter.GaussianBlur(0.008 * max(image.size)))
    return {"crop": jpeg(crop(image, chance, 0.2, 0.45), 40), "turn": jpeg(turned, 30), "blur": jpeg(blurred, 30)}


def object_task(folder: Path, seed: int, scenario: str) -> Task:
    """Return the images and queries of a scenario for kinds of objects."""
    chance = random.Random(seed)
    kinds = sorted(path for path in folder.iterdir() if path.is_dir())
    others = set(chance.sample(range(len(kinds)), len(kinds) // (3 if scenario == "growing" else 2)))
    parted = scenario in ("half", "growing")
    gallery: list[Photograph] = []
    queries: dict[str, list[Photograph]] = {}
    for label, folder_of_kind in enumerate(kinds):
        query_set = f"{KINDS} {'B' if label in others else 'A'}" if parted else KINDS
        uploaded = 0
        for position, path in enumerate(image_files(folder_of_kind)):
            name = f"{label}-{path.name}"
            if position % QUERY_EVERY == seed % QUERY_EVERY:
                queries.setdefault(query_set, []).append(Photograph(name, path.read_bytes(), label, ""))
                continue
            alone = scenario == "none" or (scenario == "half" and label in others)
            entry = f"{label}-{uploaded // 3}" if scenario == "threes" else folder_of_kind.name
            gallery.append(Photograph(name, path.read_bytes(), label, name if alone else entry))
            uploaded += 1
    if scenario == "shuffled":
        ends = chance.sample([photograph.uploaded_as for photograph in gallery], len(gallery))
        gallery = [replace(each, uploaded_as=end) for each, end in zip(gallery, ends, strict=True)]
    copies = [replace(each, data=copied(each.data, chance)) for each in chance.sample(gallery, COPIES)]
    queries |= {COPIES_OF_IMAGES: copies, ENTRIES: copies}
    at_first = [each for each in gallery if each.label not in others] if scenario == "growing" else []
    return Task(gallery, queries, at_first)


def single_task(folder: Path, seed: int) -> Task:
    """Return images that all differ, and distorted copies of them as queries."""
    chance = random.Random(seed)
    gallery = [
        Photograph(path.name, path.read_bytes(), label, path.name) for label, path in enumerate(image_files(folder))
    ]
    queries: dict[str, list[Photograph]] = {}
    for photograph in gallery:
        for kind, data in distorted(photograph.data, chance).items():
            queries.setdefault(kind, []).append(Photograph(photograph.name, data, photograph.label, ""))
    return Task(gallery, queries, [])


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


def relevance_label(query_set: str, photograph: Photograph) -> str:
    """Return the label that a query shares with its relevant images."""
    if query_set == COPIES_OF_IMAGES:
        return photograph.name
    return photograph.uploaded_as if query_set == ENTRIES else str(photograph.label)


def metrics(rank: Callable[[list[Photograph]], tuple[Matrix, Matrix]], task: Task) -> dict[str, dict[str, float]]:
    """Return recall and mAP of a space, by query set."""
    found = {}
    for query_set, photographs in task.queries.items():
        queries, gallery = rank(photographs)
        names = [relevance_label(query_set, photograph) for photograph in [*task.gallery, *photographs]]
        _, labels = np.unique(names, return_inverse=True)
        count = len(task.gallery)
        found[query_set] = retrieve(queries, labels[count:], gallery, labels[:count]).means()
    return found


def measure_frozen_and_pca(task: Task) -> Spaces:
    """Return the metrics of the frozen space and of the plain PCA."""
    photographs = [*task.gallery, *(photograph for queries in task.queries.values() for photograph in queries)]
    vectors = normalised(asyncio.run(embed(photographs)))
    of = {id(photograph): vector for photograph, vector in zip(photographs, vectors, strict=True)}
    gallery = vectors[: len(task.gallery)]
    moment = np.zeros((vectors.shape[1], vectors.shape[1]))
    accumulate(moment, gallery)
    basis = principal_directions(moment, 256)
    result = {}
    for space, projection in {"frozen": None, "pca": basis}.items():

        def rank(queries: list[Photograph], projection: Matrix | None = projection) -> tuple[Matrix, Matrix]:
            given = np.stack([of[id(photograph)] for photograph in queries])
            if projection is None:
                return given, gallery
            return normalised(given @ projection), normalised(gallery @ projection)

        result[space] = metrics(rank, task)
    return result


def finetuned(client: RestClient, collection: int, photographs: list[Photograph], images: str) -> dict[str, Any]:
    """Upload and finetune. Return the collection's `info`, with the duration as `finetune_seconds`."""
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
        raise SystemExit(f"The finetune did not succeed ({info['finetuning_state']}): {info['finetuning_error']}")
    return info | {"finetune_seconds": round(time.perf_counter() - began, 1)}


def measure_tuned(task: Task, client: RestClient, images: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metrics of search after a finetune, and the collection's `info`."""
    collection = client.create(name)
    for photographs in filter(None, (task.at_first, task.gallery)):
        info = finetuned(client, collection, photographs, images)
    position = {f"{images}{photograph.name}": number for number, photograph in enumerate(task.gallery)}

    def rank(queries: list[Photograph]) -> tuple[Matrix, Matrix]:
        scores = np.full((len(queries), len(task.gallery)), -2.0, np.float32)
        for row, photograph in enumerate(queries):
            found = client.search(collection, photograph.data, num_results=min(MAX_RESULTS, len(task.gallery)))
            for result in found:
                scores[row, position[result["image_url"]]] = result["score"]
        # The products of these rows with the unit vectors are the scores.
        return scores, np.eye(len(task.gallery), dtype=np.float32)

    return metrics(rank, task), info


def show(name: str, spaces: Spaces) -> None:
    """Print the metrics as a table: one row for each query set and space."""
    print(f"\n{name:<22}{'recall@1':>10}{'recall@10':>11}{'mAP@10':>9}{'mAP':>9}")
    for query_set in next(iter(spaces.values())):
        for space, query_sets in spaces.items():
            row = query_sets[query_set]
            label = f"{query_set} {space}"
            print(
                f"{label:<22}{row['recall_at_1']:>10.4f}{row['recall_at_10']:>11.4f}"
                f"{row['map_at_10']:>9.4f}{row['map']:>9.4f}"
            )


def main() -> None:
    """Run the scenarios and print their metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the images")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default: %(default)s)")
    parser.add_argument("--scenario", nargs="*", choices=(*OBJECT_SCENARIOS, "single"), help="default: all that fit")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
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
            with image_server({photograph.name: photograph.data for photograph in task.gallery}) as images:
                tuned, info = measure_tuned(task, client, images, scenario)
            spaces = {**measure_frozen_and_pca(task), "tuned": tuned}
            show(scenario, spaces)
            continued = ", continued from the previous one" if info["quality"].get("continued") else ""
            print(f"Adapter: {info['quality']['adapter']}{continued}. {info['quality']['reason']}")
            print(f"The finetune took {info['finetune_seconds']} s.")
            everything[scenario] = {"figures": spaces, "quality": info["quality"], "seconds": info["finetune_seconds"]}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
