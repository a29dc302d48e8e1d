"""Measure time and memory of fitting a large collection's adapter.

    python bench/fit_scale.py [--images 100000] [--limit SECONDS] [--json]

It runs Postgres, the one-machine Qdrant and a trainer process. The base store is filled with synthetic vectors, whose
distribution resembles a backbone's: objects cluster around classes, images around objects. So nothing is downloaded,
and the finetune consists of fitting, checking and indexing. The output has the duration of each phase, and the peak
memory and CPU time of the trainer and of its training process.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pydantic import SecretStr

from bench.finetune import DIMENSION, SAMPLE_SECONDS, HashEmbedder
from tests.integration.databases import new_database
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.integration.trainer.parts.pixel_embedder import pixel_embedder
from tests.integration.trainer.parts.trainer_process import trainer_process
from tests.integration.workplace import Workplace, open_workplace
from trainer.config import TrainerSettings
from trainer.fetch.view_sample import VIEWS, ViewSample
from trainer.index.base_vectors import Matrix

VIEWS_OF_OBJECT = 8
CLASSES = 100
BATCH = 256
URL = "http://127.0.0.1:1/{number}"


class Vectors:
    """Synthetic vectors: objects cluster around classes, images around objects, and views around images."""

    def __init__(self) -> None:
        self._classes = np.abs(np.random.default_rng(0).normal(size=(CLASSES, DIMENSION)))

    def images(self, numbers: list[int]) -> Matrix:
        """Return the vectors [n, dim] of the images with these numbers."""
        return np.array([self._image(number) for number in numbers], dtype=np.float32)

    def views(self, number: int) -> Matrix:
        """Return the views [VIEWS, dim] of an image."""
        noise = np.random.default_rng((3, number)).normal(size=(VIEWS, DIMENSION))
        return np.asarray(self._image(number) + 0.5 * noise, dtype=np.float32)

    def _image(self, number: int) -> Matrix:
        thing = number // VIEWS_OF_OBJECT
        place = np.random.default_rng((1, thing)).normal(size=DIMENSION)
        noise = np.random.default_rng((2, number)).normal(size=DIMENSION)
        return np.asarray(self._classes[thing % CLASSES] + 0.4 * place + 0.6 * noise, dtype=np.float32)


@asynccontextmanager
async def peaks(trainer: int) -> AsyncIterator[dict[str, float]]:
    """Record peak memory (MB) and CPU seconds of a trainer and its training process while entered."""
    found = {"trainer_mb": 0.0, "trainer_cpu_seconds": 0.0, "learning_mb": 0.0, "learning_cpu_seconds": 0.0}

    def note(process: psutil.Process, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[f"{name}_cpu_seconds"] = max(found[f"{name}_cpu_seconds"], times.user + times.system)
            found[f"{name}_mb"] = max(found[f"{name}_mb"], process.memory_info().rss / 1e6)

    async def sample() -> None:
        while True:
            process = psutil.Process(trainer)
            note(process, "trainer")
            for child in process.children():
                note(child, "learning")
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def filled(place: Workplace, images: int, checksum: str) -> int:
    """Create a collection with a complete base store, and return its id."""
    collection = await place.collections.create("large")
    rows = [(URL.format(number=number), f"entry-{number // VIEWS_OF_OBJECT}") for number in range(images)]
    await place.contents.replace(collection, place.staged(rows))
    store, views = place.base_stores.of(collection, checksum), place.base_stores.views_of(collection, checksum)
    await store.ensure(DIMENSION)
    await views.ensure(DIMENSION * VIEWS)
    vectors, sample = Vectors(), ViewSample(images)
    after = 0
    while page := await place.images.page(collection, 1, after=after, limit=BATCH):
        numbers = [int(image.image_url.rpartition("/")[2]) for image in page]
        await store.put([image.id for image in page], await asyncio.to_thread(vectors.images, numbers))
        for image, number in zip(page, numbers, strict=True):
            if sample.views(image.id):
                await views.put([image.id], vectors.views(number).reshape(1, -1))
        after = page[-1].id
    return collection


async def run(images: int, limit: float, folder: Path) -> dict[str, Any]:
    """Finetune a collection of that size and return the measurements. Stops after `limit` seconds."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(folder / "data"))
        url = await stack.enter_async_context(new_database(postgres))
        qdrant = await stack.enter_async_context(running_qdrant(folder / "qdrant"))
        embedder = await stack.enter_async_context(pixel_embedder(embedder=HashEmbedder()))
        place = await stack.enter_async_context(open_workplace(url, f"{qdrant.host}:{qdrant.grpc_port}", folder))
        began = time.perf_counter()
        collection = await filled(place, images, embedder.checksum)
        answer: dict[str, Any] = {"images": images, "filling_seconds": round(time.perf_counter() - began, 1)}
        settings = TrainerSettings(
            listen="127.0.0.1:0",
            database_url=SecretStr(url),
            qdrant_address=place.qdrant_address,
            vector_prefix=place.prefix,
            embedder_address=embedder.target,
            allow_private_addresses=True,
            poll_seconds=0.1,
            learning_threads=2,
        )
        log: list[dict[str, object]] = []
        began, load = time.perf_counter(), psutil.getloadavg()[1]
        async with trainer_process(settings, log) as process, peaks(process.pid) as memory:
            job = await place.finetune(collection)
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    while not (await place.jobs.get(job.id)).state.ended:  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
        found = await place.jobs.get(job.id)
        _, index = await place.indexes.live(collection)
        quality = await place.rows("SELECT quality FROM indexes WHERE id = $1", None if index is None else index.id)
        return answer | {
            "state": found.state.value,
            "phase": found.phase,
            "progress": found.progress,
            "error": found.error_message,
            "seconds": round(time.perf_counter() - began, 1),
            "phases": {event["phase"]: event["seconds"] for event in log if event["event"] == "phase_done"},
            **{name: round(peak, 1) for name, peak in memory.items()},
            "load_before_and_after": [load, psutil.getloadavg()[1]],
            "quality": json.loads(str(quality[0][0])) if quality else None,
        }


def main() -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="size of the collection (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=3600.0, help="stop after this many seconds (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="similis-bench-") as folder:
        answer = asyncio.run(run(options.images, options.limit, Path(folder)))
    print(json.dumps(answer, indent=2) if options.json else "\n".join(f"{n:24}{v}" for n, v in answer.items()))


if __name__ == "__main__":
    main()
