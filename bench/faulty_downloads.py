"""Thousands of URLs, a fifth of them faulty in every way: `python bench/faulty_downloads.py [--rows 10000] [--json]`.

Real Postgres, the one-machine Qdrant, the real embedder, a trainer process with its network guard, and a process of
hosts that answer wrongly in every way. The trainer is killed at half. Says what came of the rows and how many have not
exactly one outcome, or one that they must not have; the most memory that the trainer took, the time, and the share of
the good images that were fetched twice.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bench.finetune import peak_memory
from catalog.jobs import Job
from tests.integration.databases import new_database
from tests.integration.embedder_process import running_embedder
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.integration.trainer.parts.fault_plan import INDEXED, FaultyHosts, fault_plan, outcomes_of, surprises
from tests.integration.trainer.parts.trainer_process import trainer_process
from tests.integration.workplace import Workplace, open_workplace
from trainer.config import TrainerSettings

PICTURE_SIZE = 64
LARGEST_ANSWER = 16 * 1024 * 1024
GUARDED = "tests.integration.trainer.parts.guarded_trainer"


class FaultServer:
    """The process of the hosts."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        self._process, self._commands, self._answers = process, process.stdin, process.stdout

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator["FaultServer"]:
        """Serves while entered."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.parts.fault_server", str(PICTURE_SIZE)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LARGEST_ANSWER,
        )
        try:
            yield cls(process)
        finally:
            process.kill()
            await process.wait()

    async def hosts(self) -> FaultyHosts:
        """Where the hosts are. To be asked first, and once."""
        return FaultyHosts.at(json.loads(await self._answers.readline()))

    async def served(self) -> Counter[str]:
        """How often each picture was asked for."""
        self._commands.write(b"\n")
        return Counter(json.loads(await self._answers.readline()))


async def run(rows: int, seed: int, folder: Path) -> dict[str, Any]:
    """The measurement."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(folder / "data"))
        url = await stack.enter_async_context(new_database(postgres))
        qdrant = await stack.enter_async_context(running_qdrant(folder / "qdrant"))
        embedder = await stack.enter_async_context(running_embedder())
        server = await stack.enter_async_context(FaultServer.start())
        place = await stack.enter_async_context(open_workplace(url, f"{qdrant.host}:{qdrant.grpc_port}", folder))
        settings = TrainerSettings(
            listen="127.0.0.1:0",
            database_url=url,
            qdrant_address=place.qdrant_address,
            vector_prefix=place.prefix,
            embedder_address=embedder.target,
            poll_seconds=0.1,
            lease_seconds=5.0,
            # Shorter than the defaults, so that the faults that take all of their time can be many.
            download_attempts=2,
            download_seconds=10.0,
            download_read_seconds=4.0,
            download_connect_seconds=4.0,
        )
        plan = fault_plan(await server.hosts(), rows, seed=seed)
        collection = await place.collection([row.url for row in plan])
        job = await place.finetune(collection)
        began = time.perf_counter()
        first = await _until_half(settings, server, rows)
        second = await _until_ended(settings, place, job)
        seconds = time.perf_counter() - began
        found = await outcomes_of(place, collection, embedder.description.checksum)
        served = await server.served()
        counted = Counter(outcome for outcomes in found.values() for outcome in outcomes)
        _, index = await place.indexes.live(collection)
        held = 0 if index is None else (await place.client.count(index.qdrant_collection, exact=True)).count
        return {
            "rows": rows,
            "seed": seed,
            "state": (await place.jobs.get(job.id)).state.value,
            "seconds": round(seconds, 1),
            "fetching_seconds_after_kill": second["fetching_seconds"],
            "peak_mb": round(max(first["peak_mb"], second["peak_mb"]), 1),
            "outcomes": dict(counted.most_common()),
            "in_the_index": held,
            "indexed_and_not_in_the_index": counted[INDEXED] - held,
            "surprises": surprises(plan, found),
            "fetched_twice_share": round(sum(times - 1 for times in served.values()) / rows, 4),
        }


async def _until_half(settings: TrainerSettings, server: FaultServer, rows: int) -> dict[str, Any]:
    """A trainer that is killed when half of the rows' pictures were asked for."""
    async with trainer_process(settings, module=GUARDED) as process, peak_memory(process.pid) as memory:
        while len(await server.served()) < rows * 0.4:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        process.kill()
        await process.wait()
    return dict(memory)


async def _until_ended(settings: TrainerSettings, place: Workplace, job: Job) -> dict[str, Any]:
    """The trainer after it."""
    log: list[dict[str, object]] = []
    async with trainer_process(settings, log, module=GUARDED) as process, peak_memory(process.pid) as memory:
        while not (await place.jobs.get(job.id)).state.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    phases = {event["phase"]: event["seconds"] for event in log if event["event"] == "phase_done"}
    return {**memory, "fetching_seconds": phases.get("fetching")}


def _table(answer: dict[str, Any]) -> str:
    lines = [f"{outcome:22}{count:8}" for outcome, count in answer["outcomes"].items()]
    lines += [f"{name:32}{answer[name]}" for name in answer if name not in ("outcomes", "surprises")]
    lines.append(f"{'rows without their one outcome':32}{len(answer['surprises'])}")
    lines += [f"  {url}: {outcomes}" for url, outcomes in list(answer["surprises"].items())[:20]]
    return "\n".join(lines)


def main() -> None:
    """Runs and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="similis-bench-") as folder:
        answer = asyncio.run(run(options.rows, options.seed, Path(folder)))
    print(json.dumps(answer, indent=2) if options.json else _table(answer))


if __name__ == "__main__":
    main()
