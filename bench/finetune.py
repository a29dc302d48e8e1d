"""Time and memory that a finetune takes in the trainer itself: `python bench/finetune.py --images 20000`.

Uses real Postgres, the one-machine Qdrant and a trainer process. Images and vectors come from this process and cost
next to nothing, so the figures are the trainer's own: downloads, stream, base store, projection, index. Runs three
finetunes: a first one, one after 1 % of the rows changed, and one whose trainer is killed halfway.
"""

import argparse
import asyncio
import hashlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pydantic import SecretStr
from similis.embedder.v1 import embedder_pb2

from tests.eventually import eventually
from tests.integration.databases import new_database
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.integration.trainer.parts.image_host import image_host
from tests.integration.trainer.parts.pixel_embedder import PixelEmbedder, pixel_embedder
from tests.integration.trainer.parts.trainer_process import trainer_process
from tests.integration.workplace import Workplace, open_workplace
from trainer.config import TrainerSettings

DIMENSION = 1280
SAMPLE_SECONDS = 0.05


class HashEmbedder(PixelEmbedder):
    """Returns random vectors of the usual length around 50 centres, seeded by the image's digest."""

    def __init__(self) -> None:
        super().__init__()
        self._centres = np.abs(np.random.default_rng(0).normal(size=(50, DIMENSION)))

    async def Describe(  # noqa: N802
        self,
        request: embedder_pb2.DescribeRequest,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> embedder_pb2.DescribeResponse:
        return embedder_pb2.DescribeResponse(checksum=self.checksum, dimension=DIMENSION)

    def _outcome(self, request: embedder_pb2.EmbedStreamRequest) -> embedder_pb2.EmbedStreamResponse:
        digest = hashlib.sha256(request.image)
        (self.viewed if request.views.only else self.embedded)[digest.hexdigest()] += 1
        chance = np.random.default_rng(int.from_bytes(digest.digest()[:8], "big"))
        centre = self._centres[chance.integers(50)]
        rows = centre + 0.3 * chance.normal(size=(1 + request.views.count, DIMENSION))
        vector, *views = (row.astype("<f4").tobytes() for row in rows)
        embedding = embedder_pb2.Embedding(vector=vector, views=views)
        return embedder_pb2.EmbedStreamResponse(item_id=request.item_id, embedding=embedding)


@asynccontextmanager
async def peak_memory(process: int) -> AsyncIterator[dict[str, float]]:
    """The peak resident memory of a process while entered, in MB."""
    found: dict[str, float] = {"peak_mb": 0.0}

    async def sample() -> None:
        while psutil.pid_exists(process):
            found["peak_mb"] = max(found["peak_mb"], psutil.Process(process).memory_info().rss / 1e6)
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def finetuned(place: Workplace, collection: int, process: int, log: list[dict[str, object]]) -> dict[str, object]:
    """Run one finetune and return its seconds, in total and for each phase. log: the events that the trainer logs."""
    log.clear()
    async with peak_memory(process) as memory:
        began = time.perf_counter()
        job = await place.finetune(collection)
        while not (found := await place.jobs.get(job.id)).state.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
    phases = {str(event["phase"]): event["seconds"] for event in log if event["event"] == "phase_done"}
    return {"state": found.state.value, "seconds": round(seconds, 2), "phases": phases, **memory}


async def run(images: int, folder: Path) -> dict[str, object]:
    """Run all measurements."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(
            new_database(await stack.enter_async_context(running_postgres(folder / "data")))
        )
        qdrant = await stack.enter_async_context(running_qdrant(folder / "qdrant"))
        host = await stack.enter_async_context(image_host())
        embedder = await stack.enter_async_context(pixel_embedder(embedder=HashEmbedder()))
        place = await stack.enter_async_context(open_workplace(url, f"{qdrant.host}:{qdrant.grpc_port}", folder))
        settings = TrainerSettings(
            listen="127.0.0.1:0",
            database_url=SecretStr(url),
            qdrant_address=place.qdrant_address,
            vector_prefix=place.prefix,
            embedder_address=embedder.target,
            allow_private_addresses=True,
            poll_seconds=0.1,
            lease_seconds=5.0,
            downloads_per_host=32,
        )
        urls = host.picture_urls(images)
        collection = await place.collection(urls)
        answer: dict[str, Any] = {"images": images}
        log: list[dict[str, object]] = []
        async with trainer_process(settings, log) as process:
            answer["idle_mb"] = round(psutil.Process(process.pid).memory_info().rss / 1e6, 1)
            answer["first"] = await finetuned(place, collection, process.pid, log)
            changed = images // 100
            before = embedder.embedded.total()
            await place.fill(collection, [*urls[changed:], *host.picture_urls(changed, first=images)])
            answer["one_percent_changed"] = await finetuned(place, collection, process.pid, log)
            answer["share_of_first"] = round(answer["one_percent_changed"]["seconds"] / answer["first"]["seconds"], 4)
            answer["embedded_for_one_percent"] = embedder.embedded.total() - before
        answer["killed"] = await killed(place, settings, embedder, host.picture_urls(images // 4, first=2 * images))
        return answer


async def killed(
    place: Workplace, settings: TrainerSettings, embedder: PixelEmbedder, urls: Sequence[str]
) -> dict[str, object]:
    """Kill the trainer of a finetune halfway, and return how much was embedded twice."""
    collection = await place.collection(urls)
    embedder.embedded.clear()
    job = await place.finetune(collection)
    async with trainer_process(settings) as process:
        await eventually(lambda: embedder.embedded.total() >= len(urls) // 2, 3600.0)
        process.kill()
        await process.wait()
    began = time.perf_counter()
    async with trainer_process(settings):
        while not (found := await place.jobs.get(job.id)).state.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    twice = embedder.embedded.total() - len(embedder.embedded)
    return {
        "images": len(urls),
        "state": found.state.value,
        "embedded_twice": twice,
        "share": round(twice / len(urls), 4),
        "seconds_to_the_end": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000, help="size of the collection")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="similis-bench-") as folder:
        print(json.dumps(asyncio.run(run(options.images, Path(folder))), indent=2))


if __name__ == "__main__":
    main()
