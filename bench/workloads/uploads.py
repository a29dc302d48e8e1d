"""Uploads of a large CSV to all of `similis up`: time, stalls, and the memory of gateway, content process and Postgres.

All but one of the rows are uploaded to a new collection, then all of them, first as text/csv and then as base64 in
JSON. Meanwhile `/healthz` is asked, whose slowest answer shows how long the event loop was blocked, and the list of
collections, which needs Postgres and shows what other clients notice.
"""

import asyncio
import base64
import io
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp
import psutil

from bench.parts.instance.finetunes import admin_client
from bench.parts.instance.memory import memory_by_role
from bench.parts.instance.processes import running_instance
from bench.parts.instance.running import similis
from bench.parts.measuring_process import quantile
from bench.parts.report.figures import Bar, Figure, at_most, figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.workloads.options import Options

MEBIBYTE = 1024 * 1024
STAGE = re.compile(r'similis_upload_stage_duration_seconds_sum{stage="(\w+)"} (\S+)')
UPLOAD_SECONDS = 600.0
SAMPLE_SECONDS = 0.1
HEALTH_PAUSE, LIST_PAUSE = 0.002, 0.05
# The bars hold for this many rows.
BAR_ROWS = 1_000_000
SECONDS, GATEWAY_MB, STALL_MS = at_most(15.0), at_most(150.0), at_most(100.0)
KINDS = {"CSV": "text/csv", "JSON": "application/json"}


@dataclass(frozen=True)
class Api:
    """A running instance and a key."""

    url: str
    key: str
    process: psutil.Process


@dataclass
class Upload:
    """One upload. memory: MB before it by role. peaks: the most during it. healthz, lists: milliseconds of answers."""

    what: str
    body_mib: float
    seconds: float = 0.0
    memory: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    healthz: list[float] = field(default_factory=list)
    lists: list[float] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)


class Watch:
    """Samples memory and asks `/healthz` and for the list of collections while entered."""

    def __init__(self, api: Api, upload: Upload) -> None:
        self._api = api
        self._upload = upload

    async def __aenter__(self) -> "Watch":
        self._upload.memory = memory_by_role(self._api.process)
        url = self._api.url
        self._tasks = [
            asyncio.create_task(self._sample()),
            asyncio.create_task(self._ask(f"{url}/healthz", self._upload.healthz, HEALTH_PAUSE)),
            asyncio.create_task(self._ask(f"{url}/api/collection/list", self._upload.lists, LIST_PAUSE)),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sample(self) -> None:
        peaks = self._upload.peaks
        while True:
            # In a thread, because it would delay the answers that are timed.
            found = await asyncio.to_thread(memory_by_role, self._api.process)
            for role, size in {**found, "all": sum(found.values())}.items():
                peaks[role] = max(peaks.get(role, 0.0), size)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _ask(self, url: str, milliseconds: list[float], pause: float) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.perf_counter()
                async with session.get(url) as response:
                    await response.read()
                milliseconds.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(pause)


def content(rows: int) -> bytes:
    """Make a CSV with URLs like those of an IIIF collection."""
    row = b"https://iiif.example.org/iiif/2/ms-%08d/full/512,/0/default.jpg;https://repo.example.org/#/detail/%d\r\n"
    return b"".join(row % (number, number // 3) for number in range(rows))


def bodies(csv: bytes, kind: str) -> Iterator[tuple[str, bytes]]:
    """Yield the bodies of the two uploads, with their names. kind: of KINDS."""
    more = csv + b"https://iiif.example.org/new.jpg;https://repo.example.org/new\r\n"
    for what, data in (("", csv), (", one row more", more)):
        is_csv = kind == "CSV"
        yield f"{kind}{what}", data if is_csv else b'{"content": "' + base64.b64encode(data) + b'"}'


async def timed_upload(api: Api, collection: int, what: str, body: bytes, kind: str) -> Upload:
    """Upload a body and measure. Raises SystemExit if it is refused."""
    upload = Upload(what, round(len(body) / MEBIBYTE, 1))
    headers = {"API-Key": api.key, "Content-Type": kind}
    before = await stages(api.url)
    timeout = aiohttp.ClientTimeout(total=UPLOAD_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, Watch(api, upload):
        began = time.perf_counter()
        path = f"{api.url}/api/collection/{collection}/updatecontent"
        async with session.post(path, data=io.BytesIO(body), headers=headers) as response:
            answer = await response.json(content_type=None)
            upload.seconds = time.perf_counter() - began
    if response.status != 200:
        raise SystemExit(f"the upload {what!r} was refused: {answer}")
    after = await stages(api.url)
    upload.stage_seconds = {stage: round(after[stage] - before.get(stage, 0.0), 2) for stage in after}
    return upload


async def stages(url: str) -> dict[str, float]:
    """Return the seconds that uploads have spent in each stage so far."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        text = await response.text()
    return {stage: float(value) for stage, value in STAGE.findall(text)}


def figures(uploads: list[Upload], rows: int) -> Iterator[Figure]:
    """Return the figures of all uploads."""

    def bar(wanted: Bar) -> Bar | None:
        return wanted if rows <= BAR_ROWS else None

    for upload in uploads:
        what = f"{rows:,} rows, {upload.what}"
        yield figure(what, upload.seconds, "s", bar=bar(SECONDS))
        yield figure(f"{what}: gateway, peak", upload.peaks["gateway"], "MB", bar=bar(GATEWAY_MB))
        yield figure(f"{what}: all processes, peak", upload.peaks["all"], "MB")
        yield figure(f"{what}: slowest /healthz", max(upload.healthz), "ms", bar=bar(STALL_MS))
        yield figure(f"{what}: slowest list of collections", max(upload.lists), "ms")


def details(upload: Upload) -> dict[str, object]:
    """Return what is kept of an upload, with medians in place of all answers."""
    found = asdict(upload)
    for name in ("healthz", "lists"):
        times = found.pop(name)
        found[f"{name}_answers"], found[f"{name}_median_ms"] = len(times), round(quantile(times, 0.5), 2)
    return found


def measure(options: Options, say: Progress) -> Measured:
    """Measure all uploads, one after the other."""
    rows = options.upload_rows
    csv = content(rows - 1)
    uploads = []
    with tempfile.TemporaryDirectory() as folder, similis(data := Path(folder)) as address:
        client = admin_client(address, data)
        key = (data / "admin-key").read_text(encoding="ascii").strip()
        api = Api(address, key, running_instance())
        for kind, content_type in KINDS.items():
            collection = client.create(kind)
            for what, body in bodies(csv, kind):
                say(f"{rows:,} rows, {what}")
                uploads.append(asyncio.run(timed_upload(api, collection, what, body, content_type)))
    return Measured(list(figures(uploads, rows)), {}, {"uploads": [details(upload) for upload in uploads]})
