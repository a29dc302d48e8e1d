"""Measure the upload of a large CSV: time, stalls, and the memory of gateway, content process and Postgres.

Starts a real Postgres and a real gateway process. Uploads all but one of `--rows` rows to a new collection, then all of
them, first as text/csv and then as base64 in JSON. Meanwhile it polls `/healthz`, whose slowest answer shows how long
the event loop was blocked, and the list of collections, which needs Postgres and shows what other clients notice.

    python bench/upload.py [--rows 1000000] [--json FILE]
"""

import argparse
import asyncio
import base64
import io
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import psutil

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from tests.integration.gateway.parts import running_postgres

MIB = 1024 * 1024
ANONYMOUS = re.compile(r"^Anonymous:\s+(\d+) kB$", re.MULTILINE)
STAGE = re.compile(r'similis_upload_stage_duration_seconds_sum{stage="(\w+)"} (\S+)')


@dataclass(frozen=True)
class Gateway:
    """A running gateway and an API key."""

    url: str
    pid: int
    key: str


@dataclass
class Measurement:
    """The measurements of one upload. Memory: peak anonymous memory in MiB. Probes and stalls: milliseconds."""

    what: str
    body_mib: float
    seconds: float
    gateway_before: float
    gateway_peak: float
    content_process_peak: float
    postgres_before: float
    postgres_peak: float
    probes: int
    probe_median_ms: float
    longest_stall_ms: float
    list_median_ms: float
    list_longest_ms: float
    stage_seconds: dict[str, float]


def content(rows: int) -> bytes:
    """Make a CSV with URLs like those of an IIIF collection."""
    row = b"https://iiif.example.org/iiif/2/ms-%08d/full/512,/0/default.jpg;https://repo.example.org/#/detail/%d\r\n"
    return b"".join(row % (number, number // 3) for number in range(rows))


def anonymous(process: psutil.Process) -> float:
    """Return the anonymous memory of a process in MiB; 0 if it has ended."""
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return float(full.uss) / MIB


def postgres_anonymous() -> float:
    """Return the anonymous memory of all processes of our Postgres in MiB. Shared buffers do not count."""
    servers = [child for child in psutil.Process().children() if child.name() == "postgres"]
    kib = 0
    for process in [*servers, *(child for server in servers for child in server.children())]:
        try:
            found = ANONYMOUS.search(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
        except OSError:
            continue
        kib += int(found[1]) if found else 0
    return kib / 1024


class Watch:
    """Samples memory and polls `/healthz` and the list of collections while entered."""

    def __init__(self, pid: int, url: str) -> None:
        self._process = psutil.Process(pid)
        self._healthz, self._list = f"{url}/healthz", f"{url}/api/collection/list"
        self.gateway_before = anonymous(self._process)
        self.postgres_before = postgres_anonymous()
        self.gateway_peak = self.content_peak = self.postgres_peak = 0.0
        self.probes: list[float] = []
        self.lists: list[float] = []

    async def __aenter__(self) -> "Watch":
        self._tasks = [
            asyncio.create_task(self._sample()),
            asyncio.create_task(self._probe(self._healthz, self.probes, 0.002)),
            asyncio.create_task(self._probe(self._list, self.lists, 0.05)),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            self.gateway_peak = max(self.gateway_peak, anonymous(self._process))
            children = [anonymous(child) for child in self._process.children()]
            self.content_peak = max([self.content_peak, *children])
            self.postgres_peak = max(self.postgres_peak, postgres_anonymous())
            await asyncio.sleep(0.05)

    async def _probe(self, url: str, milliseconds: list[float], pause: float) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                started = time.perf_counter()
                async with session.get(url) as response:
                    await response.read()
                milliseconds.append((time.perf_counter() - started) * 1000)
                await asyncio.sleep(pause)


@asynccontextmanager
async def running_gateway(database_url: str) -> AsyncIterator[tuple[str, int]]:
    """Start a gateway process while entered, and yield its URL and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"),
        env={
            **os.environ,
            "SIMILIS_PORT": str(port),
            "SIMILIS_DATABASE_URL": database_url,
            "SIMILIS_LOG_LEVEL": "warning",
            "SIMILIS_EMBEDDER_ADDRESS": "127.0.0.1:1",
            "SIMILIS_TRAINER_ADDRESS": "127.0.0.1:1",
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                try:
                    async with session.get(f"{url}/api/collection/list") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        await process.wait()


async def upload(gateway: Gateway, collection: int, what: str, body: bytes, kind: str) -> Measurement:
    """Upload a body and measure."""
    url = gateway.url
    headers = {"API-Key": gateway.key, "Content-Type": kind}
    timeout = aiohttp.ClientTimeout(total=120)
    before = await stages(url)
    async with aiohttp.ClientSession(timeout=timeout) as session, Watch(gateway.pid, url) as watch:
        started = time.perf_counter()
        async with session.post(
            f"{url}/api/collection/{collection}/updatecontent", data=io.BytesIO(body), headers=headers
        ) as response:
            answer = await response.json(content_type=None)
            seconds = time.perf_counter() - started
    if response.status != 200:
        raise SystemExit(f"{what}: {answer}")
    after = await stages(url)
    probes, lists = sorted(watch.probes), sorted(watch.lists)
    return Measurement(
        what=what,
        body_mib=round(len(body) / MIB, 1),
        seconds=round(seconds, 2),
        gateway_before=round(watch.gateway_before, 1),
        gateway_peak=round(watch.gateway_peak, 1),
        content_process_peak=round(watch.content_peak, 1),
        postgres_before=round(watch.postgres_before, 1),
        postgres_peak=round(watch.postgres_peak, 1),
        probes=len(probes),
        probe_median_ms=round(probes[len(probes) // 2], 2),
        longest_stall_ms=round(probes[-1], 1),
        list_median_ms=round(lists[len(lists) // 2], 2),
        list_longest_ms=round(lists[-1], 1),
        stage_seconds={stage: round(after[stage] - before.get(stage, 0.0), 2) for stage in after},
    )


async def stages(url: str) -> dict[str, float]:
    """Return the seconds that uploads have spent in each stage so far."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        text = await response.text()
    return {stage: float(value) for stage, value in STAGE.findall(text)}


async def measure_all(rows: int) -> list[Measurement]:
    """Run and measure all uploads, one after the other."""
    measurements = []
    csv = content(rows - 1)
    more = csv + b"https://iiif.example.org/new.jpg;https://repo.example.org/new\r\n"
    with tempfile.TemporaryDirectory() as folder:
        async with running_postgres(Path(folder) / "data") as database_url:
            async with Database.open(database_url) as database:
                key = await ApiKeys(database).create("bench")
            async with running_gateway(database_url) as (url, pid):
                gateway = Gateway(url, pid, key)
                for kind in ("text/csv", "application/json"):
                    collection = await create(url, key)
                    for what, data in (("first", csv), ("one row more", more)):
                        is_csv = kind == "text/csv"
                        body = data if is_csv else b'{"content": "' + base64.b64encode(data) + b'"}'
                        name = f"{rows} rows, {kind}, {what}"
                        measurements.append(await upload(gateway, collection, name, body, kind))
                        print(json.dumps(asdict(measurements[-1])), flush=True)
    return measurements


async def create(url: str, key: str) -> int:
    """Create a collection and return its id."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/collection/create", json={"name": "bench"}, headers={"API-Key": key}) as response,
    ):
        identifier: int = (await response.json())["id"]
        return identifier


def main() -> None:
    """Parse arguments, measure, and write the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the CSV (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    measurements = asyncio.run(measure_all(arguments.rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in measurements], indent=1) + "\n")


if __name__ == "__main__":
    main()
