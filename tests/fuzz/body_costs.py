"""Measure what bodies of searches cost the gateway: CPU time, and for how long the event loop does nothing else.

Each body is read as the search routes read it, without a server. Ordinary bodies are there for comparison.

    python -m tests.fuzz.body_costs [--only TEXT] [--json FILE]
"""

import argparse
import asyncio
import base64
import gzip
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from gateway.search import question_fields, several_fields
from gateway.search.bodies import SearchBodies
from servicekit.errors import ServiceError

MIB = 1024 * 1024
# A gzip of this many bytes is what an attacker would send to use the limit of 20 MiB.
EXPANDED = 28_000_000
BATCH_BYTES = MIB
ORDINARY_RUNS = 15


@dataclass(frozen=True)
class Body:
    """A body. batch: it goes to the route for batches."""

    sent: bytes
    packed: bool = False
    batch: bool = False


@dataclass(frozen=True)
class Cost:
    """What reading a body cost, in milliseconds, and how it ended: "read" or the code of an error."""

    name: str
    sent_bytes: int
    cpu_ms: float
    standstill_ms: float
    outcome: str


def _packed(body: bytes, *, batch: bool = False) -> Body:
    return Body(gzip.compress(body, 9), packed=True, batch=batch)


def _ordinary(size: int) -> bytes:
    return base64.b64encode(os.urandom(size))


BODIES: dict[str, Callable[[], Body]] = {
    "ordinary: 110 kB": lambda: Body(b'{"image": "' + _ordinary(110_000) + b'"}'),
    "ordinary: 110 kB, with escaped slashes": lambda: Body(
        b'{"image": "' + _ordinary(110_000).replace(b"/", b"\\/") + b'"}'
    ),
    "ordinary: 5 MB": lambda: Body(b'{"image": "' + _ordinary(5_000_000) + b'"}'),
    "ordinary: batch of 8": lambda: Body(
        json.dumps({"queries": [{"image": _ordinary(110_000).decode()}] * 8}).encode(), batch=True
    ),
    "gzip of objects": lambda: _packed(b'{"a":' * 13_000),
    "gzip of lists": lambda: _packed(b'{"a":' + b"[" * 65_000),
    "gzip of empty lists": lambda: _packed(b'{"a":[' + b"[]," * 21_000),
    "gzip of empty strings": lambda: _packed(b'{"a":[' + b'"",' * 21_000),
    "gzip of keys": lambda: _packed(b"{" + b'"a":1,' * 10_000),
    "gzip of base64": lambda: _packed(b'{"image":"' + b"A" * EXPANDED + b'"}'),
    "gzip of escapes": lambda: _packed(b'{"image":"' + rb"\u0041" * (EXPANDED // 6) + b'"}'),
    "gzip of white space": lambda: _packed(b'{"image":"' + b" " * EXPANDED + b'"}'),
    "escapes": lambda: Body(b'{"image":"' + rb"\u0041" * 1_000_000 + b'"}'),
    "escaped quotes": lambda: Body(b'{"a":"' + rb"\"" * 30_000),
    "keys that are nearly known": lambda: Body(b"{" + b",".join(b'"imagf%d":1' % n for n in range(4500)) + b"}"),
    "batch: gzip of empty lists": lambda: _packed(b'{"queries":[' + b"[]," * 340_000, batch=True),
    "batch: gzip of escaped quotes": lambda: _packed(
        b'{"queries":[{"image":"' + rb"\"" * (EXPANDED // 2) + b'"}]}', batch=True
    ),
    "batch: strings": lambda: Body(b'{"queries":[' + b'"",' * 340_000, batch=True),
    "batch: objects": lambda: Body(b'{"queries":[' + b'{"a":' * 200_000, batch=True),
}


def _request(body: Body) -> web.Request:
    """Return a request whose body has arrived."""
    content = StreamReader(mock.Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    content.feed_data(body.sent)
    content.feed_eof()
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if body.packed else {})
    return make_mocked_request("POST", "/", headers=headers, payload=content)


async def _read(bodies: SearchBodies, request: web.Request, body: Body) -> str:
    try:
        with bodies.memory() as account:
            if body.batch:
                paths, limit = several_fields.BATCH_IMAGE_PATHS, BATCH_BYTES
                await bodies.read_object(request, account, paths, example="{}", other_bytes=limit, keeps_errors=True)
            else:
                sent = await bodies.read(request, account, question_fields.IMAGE_PATHS)
                question_fields.search_warnings(sent.fields or {}, {})
    except ServiceError as error:
        return error.code
    return "read"


async def _measure(name: str, body: Body) -> Cost:
    bodies = SearchBodies(memory_bytes=256 * MIB, max_image_bytes=20 * MIB)
    standstills: list[float] = []

    async def note_standstills() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            standstills.append(now - last)
            last = now

    request = _request(body)
    noting = asyncio.create_task(note_standstills())
    await asyncio.sleep(0)
    before = time.process_time()
    outcome = await _read(bodies, request, body)
    seconds = time.process_time() - before
    await asyncio.sleep(0)
    noting.cancel()
    return Cost(name, len(body.sent), seconds * 1000, max(standstills) * 1000, outcome)


def cost_of(name: str) -> Cost:
    """Return the median cost of an ordinary body, or what a nasty one cost once."""
    body, runs = BODIES[name](), ORDINARY_RUNS if name.startswith("ordinary") else 1
    costs = sorted((asyncio.run(_measure(name, body)) for _ in range(runs)), key=lambda cost: cost.cpu_ms)
    return costs[runs // 2]


def main() -> None:
    """Measure the bodies and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="measure the bodies whose name has this text")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    costs = []
    for name in BODIES:
        if options.only in name:
            costs.append(cost_of(name))
            cost = costs[-1]
            figures = f"{cost.cpu_ms:9.2f} ms of CPU, standstill {cost.standstill_ms:9.2f} ms"
            sys.stdout.write(f"{name:40} {cost.sent_bytes:9,} bytes {figures}, {cost.outcome}\n")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=2))


if __name__ == "__main__":
    main()
