"""How much searches in one collection slow down while another one is written and optimized.

Starts the one-machine Qdrant, fills collection A, and measures searches in A in four phases: alone, while 20,000
vectors of 256 dimensions are upserted into B, while B is optimized, and while B moves to a reader. A separate process
writes B.

    python bench/qdrant_isolation.py [--points 20000] [--json FILE]

Further options go to the server, such as --indexing-threads 2. The exit status is 1 if a search took more than 50 ms
longer than the median alone.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from qdrant_client import AsyncQdrantClient, models

from tests.integration.qdrant_process import qdrant_client, running_qdrant

SIZE = 256
CALM_POINTS = 5000
ALONE_SECONDS = 8.0
PAUSE_SECONDS = 0.005
# Longer than a writer lingers, so that B moves to a reader in this time.
AFTER_SECONDS = 6.0
MAX_SLOWDOWN_MS = 50.0
QUANTIZATION = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
)


def vectors(number: int, seed: int) -> np.ndarray:
    """Return clustered vectors [number, SIZE]."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((200, SIZE))
    return (centres[random.integers(0, 200, number)] + 0.5 * random.standard_normal((number, SIZE))).astype(np.float32)


async def fill(client: AsyncQdrantClient, name: str, number: int, seed: int) -> None:
    """Create a collection as the catalog does and write its points in batches of 256."""
    await client.create_collection(
        name,
        vectors_config=models.VectorParams(size=SIZE, distance=models.Distance.COSINE, on_disk=True),
        quantization_config=QUANTIZATION,
    )
    data = vectors(number, seed)
    for start in range(0, number, 256):
        part = data[start : start + 256].tolist()
        await client.upsert(name, models.Batch(ids=list(range(start, start + len(part))), vectors=part), wait=True)


async def wait_until_green(client: AsyncQdrantClient, name: str) -> None:
    """Wait until a collection is optimized."""
    while (await client.get_collection(name)).status is not models.CollectionStatus.GREEN:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


def write_other(host: str, port: int, number: int, marks: "multiprocessing.Queue[tuple[str, float]]") -> None:
    """Upsert B, wait until it is green, and report when each phase began. Runs in a separate process."""

    async def run() -> None:
        client = qdrant_client(host, port)
        marks.put(("upsert B", time.monotonic()))
        await fill(client, "b", number, seed=2)
        marks.put(("optimize B", time.monotonic()))
        await wait_until_green(client, "b")
        marks.put(("move B", time.monotonic()))
        await client.close()

    asyncio.run(run())


async def search(client: AsyncQdrantClient, queries: list[list[float]], samples: list[tuple[float, float]]) -> None:
    """Search A until cancelled, and append (start, seconds) of each search to `samples`."""
    params = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0))
    number = 0
    while True:
        started = time.monotonic()
        await client.query_points("a", query=queries[number % len(queries)], limit=10, search_params=params)
        samples.append((started, time.monotonic() - started))
        number += 1
        await asyncio.sleep(PAUSE_SECONDS)


def figures(samples: list[tuple[float, float]], begin: float, end: float) -> dict[str, float]:
    """Return the latencies (ms) of the searches that began in a period."""
    took = np.array([seconds for started, seconds in samples if begin <= started < end]) * 1000
    quantiles = np.percentile(took, [50, 99])
    return {
        "seconds": end - begin,
        "searches": len(took),
        "p50_ms": float(quantiles[0]),
        "p99_ms": float(quantiles[1]),
        "max_ms": float(took.max()),
    }


async def measure(points: int, data: Path, arguments: list[str]) -> dict[str, dict[str, float]]:
    """Run all phases and return the figures of each."""
    context = multiprocessing.get_context("spawn")
    marks: multiprocessing.Queue[tuple[str, float]] = context.Queue()
    async with running_qdrant(data, *arguments) as server:
        client = server.client()
        await fill(client, "a", CALM_POINTS, seed=1)
        await wait_until_green(client, "a")
        while server.engine_ids("writer"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        samples: list[tuple[float, float]] = []
        begin = time.monotonic()
        searching = asyncio.create_task(search(client, vectors(100, seed=3).tolist(), samples))
        await asyncio.sleep(ALONE_SECONDS)
        process = context.Process(target=write_other, args=(server.host, server.grpc_port, points, marks))
        process.start()
        await asyncio.to_thread(process.join)
        await asyncio.sleep(AFTER_SECONDS)
        end = time.monotonic()
        searching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await searching
        await client.close()
    starts = [("alone", begin), *(marks.get(timeout=5) for _ in range(3))]
    ends = [moment for _, moment in starts[1:]] + [end]
    ends[0] = begin + ALONE_SECONDS
    return {name: figures(samples, start, stop) for (name, start), stop in zip(starts, ends, strict=True)}


def main() -> None:
    """Measure, print a table and exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20_000, help="points to write into B (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    options, server_arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        phases = asyncio.run(measure(options.points, Path(folder), server_arguments))
    print(f"{'searches in A':14}{'s':>8}{'n':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'max - alone p50':>17}")
    alone = phases["alone"]
    for name, row in phases.items():
        longer = row["max_ms"] - alone["p50_ms"]
        print(
            f"{name:14}{row['seconds']:8.1f}{row['searches']:8.0f}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}"
            f"{row['max_ms']:9.2f}{longer:17.2f}"
        )
    worst = max(row["max_ms"] for row in phases.values()) - alone["p50_ms"]
    if options.json:
        options.json.write_text(json.dumps({"phases": phases, "worst_longer_ms": worst}, indent=2))
    sys.exit(0 if worst <= MAX_SLOWDOWN_MS else 1)


if __name__ == "__main__":
    main()
