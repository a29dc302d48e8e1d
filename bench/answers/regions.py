"""Measure whether a detail of a large scan is found: `python bench/answers/regions.py --photographs FOLDER`.

The photographs all differ and are the collection. A scan is a composite of nine or twenty-five of them as a JPEG of 20
megapixels, such as a page of an album. Each photograph of it is asked for, with the region that it fills and with the
whole scan. The embedder is the real one, cuts the region itself, and nothing is learned. `recall@1`: the share of
photographs that are the best result; `recall@10`: among the ten best.
"""

import argparse
import asyncio
import io
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from prometheus_client import CollectorRegistry

from bench.false_matches import embed
from bench.parts.photographs import image_files
from catalog.vectors.projection import normalised
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.grpc.channel import open_channel
from servicekit.image_region import Region
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.integration.embedder_process import running_embedder

# 4,500 × 4,500 pixels.
SIDE = 4500
COLUMNS = (3, 5)
SCANS = 8
QUALITY = 85


def composite(photographs: list[Path], columns: int) -> bytes:
    """Return photographs side by side, as they are except for their size."""
    side = SIDE // columns
    scan = Image.new("RGB", (side * columns, side * columns), "white")
    for place, path in enumerate(photographs):
        with Image.open(path) as image:
            fitted = ImageOps.contain(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
        corner = (place % columns * side, place // columns * side)
        scan.paste(fitted, (corner[0] + (side - fitted.width) // 2, corner[1] + (side - fitted.height) // 2))
    file = io.BytesIO()
    scan.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def regions(photographs: list[Path], columns: int) -> list[Region]:
    """Return where the photographs of a composite are."""
    found = []
    for place, path in enumerate(photographs):
        with Image.open(path) as image:
            longer = max(image.size)
            width, height = image.width / longer / columns, image.height / longer / columns
        left, top = place % columns / columns, place // columns / columns
        found.append(Region(left + (1 / columns - width) / 2, top + (1 / columns - height) / 2, width, height))
    return found


async def asked(scans: list[tuple[bytes, list[Region]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of all regions [r, dim], and for each region that of its whole scan [r, dim]."""
    details, wholes = [], []
    async with running_embedder() as embedder, open_channel(embedder.target) as channel:
        queries = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
        backbone = await queries.served_backbone()
        assert backbone is not None  # noqa: S101
        for scan, places in scans:
            whole = await queries.embed(scan, backbone)
            for place in places:
                details.append(await queries.embed(scan, backbone, place))
                wholes.append(whole)
    return normalised(np.stack(details)), normalised(np.stack(wholes))


def ranks(gallery: np.ndarray, queries: np.ndarray, wanted: list[int]) -> np.ndarray:
    """Return at which place [q] each query has the image that it wants, from 0."""
    scores = queries @ gallery.T
    own = scores[np.arange(len(wanted)), wanted]
    return np.asarray(np.sum(scores > own[:, None], axis=1))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of photographs that all differ")
    options = parser.parse_args()
    paths = image_files(options.photographs)
    gallery = normalised(np.stack(asyncio.run(embed([path.read_bytes() for path in paths], 0)))[:, 0])
    sys.stdout.write(f"{len(paths)} photographs\n")
    for columns in COLUMNS:
        chance = random.Random(columns)
        chosen = [chance.sample(range(len(paths)), columns**2) for _ in range(SCANS)]
        shown = [[paths[number] for number in scan] for scan in chosen]
        scans = [(composite(scan, columns), regions(scan, columns)) for scan in shown]
        wanted = [number for scan in chosen for number in scan]
        for name, vectors in zip(("region", "whole scan"), asyncio.run(asked(scans)), strict=True):
            places = ranks(gallery, vectors, wanted)
            first, ten = float(np.mean(places == 0)), float(np.mean(places < 10))
            line = f"{columns**2:2d} in a scan, {len(wanted)} asked for, {name:10}"
            sys.stdout.write(f"{line}: recall@1 {first:.3f}, recall@10 {ten:.3f}\n")


if __name__ == "__main__":
    main()
