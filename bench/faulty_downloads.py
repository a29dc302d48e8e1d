"""Thousands of URLs, a fifth of them faulty: `python bench/faulty_downloads.py [--rows 10000] [--json]`.

Uses real Postgres, the one-machine Qdrant, the real embedder, a trainer process with its network guard, and a process
of faulty hosts. The trainer is killed halfway. Reports the outcomes of the rows, the rows without exactly one of their
allowed outcomes, the trainer's peak memory, the time, and the share of good images that were fetched twice.
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

from pydantic import SecretStr

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
    """The process that runs the faulty hosts."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process, self._commands, self._answers = process, process.stdin, process.stdout

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator["FaultServer"]:
        """A running server while entered."""
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
        """Return the hosts. Call this once, before anything else."""
        return FaultyHosts.at(json.loads(await self._answers.readline()))

    async def served(self) -> Counter[str]:
        """Return the number of requests for each picture."""
        self._commands.write(b"\n")
        return Counter(json.loads(await self._answers.readline()))


async def run(rows: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run the measurement."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(running_postgres(folder / "data"))
        url = await stack.enter_async_context(new_database(postgres))
        qdrant = await stack.enter_async_context(running_qdrant(folder / "qdrant"))
        embedder = await stack.enter_async_context(running_embedder())
        server = await stack.enter_async_context(FaultServer.start())
        place = await stack.enter_async_context(open_workplace(url, f"{qdrant.host}:{qdrant.grpc_port}", folder))
        settings = TrainerSettings(
            listen="127.0.0.1:0",
            database_url=SecretStr(url),
            qdrant_address=place.qdrant_address,
            vector_prefix=place.prefix,
            embedder_address=embedder.target,
            poll_seconds=0.1,
            lease_seconds=5.0,
            # Shorter than the defaults, so that many faults can use up their time.
            download_attempts=2,
            download_seconds=10.0,
            download_read_seconds=4.0,
            download_connect_seconds=4.0,
        )
        plan = fault_plan(await server.hosts(), rows, seed=seed)
        collection = await place.collection([row.url for row in plan])
        job = await place.finetune(collection)
        began = time.perf_counter()
        first = await _killed_halfway(settings, server, rows)
        second = await _run_to_the_end(settings, place, job)
        seconds = time.perf_counter() - began
        found = await outcomes_of(place, collection, embedder.description.checksum)
        served = await server.served()
        counted = Counter(outcome for outcomes in found.values() for outcome in outcomes)
        _, index = await place.indexes.live(collection)
        held = 0 if index is None else await place.client.count_points(index.qdrant_collection)
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


async def _killed_halfway(settings: TrainerSettings, server: FaultServer, rows: int) -> dict[str, Any]:
    """Run a trainer and kill it once half of the good pictures were requested."""
    async with trainer_process(settings, module=GUARDED) as process, peak_memory(process.pid) as memory:
        while len(await server.served()) < rows * 0.4:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        process.kill()
        await process.wait()
    return dict(memory)


async def _run_to_the_end(settings: TrainerSettings, place: Workplace, job: Job) -> dict[str, Any]:
    """Run a second trainer until the job has ended."""
    log: list[dict[str, object]] = []
    async with trainer_process(settings, log, module=GUARDED) as process, peak_memory(process.pid) as memory:
        while not (await place.jobs.get(job.id)).state.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    phases = {event["phase"]: event["seconds"] for event in log if event["event"] == "phase_done"}
    return {**memory, "fetching_seconds": phases.get("fetching")}


def _table(answer: dict[str, Any]) -> str:
    lines = [f"{outcome:22}{count:8}" for outcome, count in answer["outcomes"].items()]
    lines += [f"{name:32}{answer[name]}" for name in answer if name not in ("outcomes", "surprises")]
    lines.append(f"{'rows without exactly one outcome':32}{len(answer['surprises'])}")
    lines += [f"  {url}: {outcomes}" for url, outcomes in list(answer["surprises"].items())[:20]]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="size of the collection")
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the rows")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="similis-bench-") as folder:
        answer = asyncio.run(run(options.rows, options.seed, Path(folder)))
    print(json.dumps(answer, indent=2) if options.json else _table(answer))


if __name__ == "__main__":
    main()
