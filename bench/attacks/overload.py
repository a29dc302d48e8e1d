"""How searches fare when far more of them arrive than the machine can answer, through all of `similis up`.

    python -m bench.attacks.overload [--data FOLDER] [--times 10] [--seconds 120]

The services run on the first core and the load on the second. First one client searches alone, with pauses. Then the
capacity is measured: eight clients search without pauses. Then one client offers `--times` as many searches. Meanwhile
a modest one, at another address, searches twice a second, a third one lists the collections, and the memory of the
gateway is watched. Last, a client searches alone while another one holds 500 connections, some of which are idle while
headers crawl on some, and bodies on others.
"""

import argparse
import asyncio
import base64
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.parts.image_host import image_host
from bench.parts.instance.finetunes import create_filled, finetune
from bench.parts.load.open_loop import NO_ANSWER, Client, Outcome, offered, one_after_the_other, request
from bench.parts.photographs import image_files
from demo.instance import instance
from demo.rest_client import RestClient

IDLE_SECONDS, CAPACITY_SECONDS = 15.0, 8.0
CLOSED_LOOPS = 8
PAUSE_SECONDS = 0.1
MODEST_PAUSE = 0.5
REFUSED = (429, 503)
MEMORY_SECONDS = 5.0
# Connections that a client holds, and how many of them are slow instead of idle.
LINGERING, SLOW = 500, 100


def search_messages(files: Sequence[Path], collection: int) -> list[bytes]:
    """Return a search for each photograph."""
    path = f"/api/collection/{collection}/search"
    bodies = [json.dumps({"image": base64.b64encode(file.read_bytes()).decode()}).encode() for file in files]
    return [request("POST", path, body, Content_Type="application/json") for body in bodies]


@asynccontextmanager
async def lingering(port: int, message: bytes) -> AsyncIterator[None]:
    """Hold connections while entered. Some are idle. On others, a request begins and a byte follows each second."""
    held = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.7", 0)) for _ in range(LINGERING)]
    slow = [writer for _, writer in held[:SLOW]]
    for number, writer in enumerate(slow):
        writer.write(message[: -2 * SLOW] if number % 2 else b"GET /healthz HTTP/1.1\r\nX: ")

    async def crawl() -> None:
        while True:
            await asyncio.sleep(1.0)
            for writer in slow:
                if not writer.is_closing():
                    writer.write(b"x")

    crawling = asyncio.create_task(crawl())
    try:
        yield
    finally:
        crawling.cancel()
        for _, writer in held:
            writer.close()


async def memory_of(process: psutil.Process, seconds: float) -> list[int]:
    """Return the memory of a process, in bytes, every few seconds."""
    found = []
    for _ in range(max(1, int(seconds / MEMORY_SECONDS))):
        found.append(process.memory_info().rss)
        await asyncio.sleep(MEMORY_SECONDS)
    return found


def described(name: str, outcome: Outcome) -> str:
    """Return a row of the table."""
    refused = [one for one in outcome.ended if one.status in REFUSED]
    without = sum(not one.asks_to_wait for one in refused)
    times = (1000 * outcome.percentile(percent, 200) for percent in (50, 99))
    to_refusal = (1000 * outcome.percentile(percent, *REFUSED) for percent in (50, 99))
    others = len(outcome.ended) - outcome.number_of(200, *REFUSED)
    return (
        f"{name:<14}{len(outcome.ended):>8}{outcome.number_of(200):>9}"
        + "".join(f"{value:>9.1f}" for value in times)
        + f"{len(refused):>9}"
        + "".join(f"{value:>9.1f}" for value in to_refusal)
        + f"{without:>9}{others:>7}{outcome.number_of(NO_ANSWER):>10}"
    )


async def measure(port: int, searches: list[bytes], gateway: psutil.Process, times: float, seconds: float) -> None:
    """Measure, and print a table."""
    quiet = await one_after_the_other(Client(port, "127.0.0.2"), searches, IDLE_SECONDS, PAUSE_SECONDS)
    clients = [Client(port, f"127.0.0.{10 + number}") for number in range(CLOSED_LOOPS)]
    busy = await asyncio.gather(*(one_after_the_other(one, searches, CAPACITY_SECONDS, 0.0) for one in clients))
    capacity = sum(outcome.number_of(200) for outcome in busy) / CAPACITY_SECONDS
    together = Outcome([one for outcome in busy for one in outcome.ended])
    print(f"capacity: {capacity:.0f} searches a second. Offered: {times * capacity:.0f}")
    listing = [request("GET", "/api/collection/list")]
    flood, modest, lists, memory = await asyncio.gather(
        offered(Client(port, "127.0.0.3"), searches, times * capacity, seconds),
        one_after_the_other(Client(port, "127.0.0.4"), searches, seconds, MODEST_PAUSE),
        one_after_the_other(Client(port, "127.0.0.5"), listing, seconds, MODEST_PAUSE),
        memory_of(gateway, seconds),
    )
    async with lingering(port, searches[0]):
        beside = await one_after_the_other(Client(port, "127.0.0.2"), searches, IDLE_SECONDS, PAUSE_SECONDS)
    print(
        f"{'ms':<14}{'requests':>8}{'accepted':>9}{'p50':>9}{'p99':>9}{'refused':>9}{'p50':>9}{'p99':>9}"
        f"{'no Retry':>9}{'other':>7}{'no answer':>10}"
    )
    rows = {"alone": quiet, "8 at once": together, "flood": flood, "modest": modest, "lists": lists, "500 held": beside}
    for name, outcome in rows.items():
        print(described(name, outcome))
    print(f"accepted p99 / p99 alone: {flood.percentile(99, 200) / quiet.percentile(99, 200):.2f}")
    print(f"gateway's memory, MiB: {' '.join(str(size >> 20) for size in memory)}")


def child(marker: str) -> psutil.Process:
    """Return the process below this one that has `marker` in its command line."""
    children = psutil.Process().children(recursive=True)
    return next(one for one in children if marker in " ".join(one.cmdline()[1:4]))


def run(folder: Path, times: float, seconds: float) -> None:
    """Start an instance on one core, and measure from another."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    files = sorted(image_files(folder))
    with tempfile.TemporaryDirectory() as data, instance(Path(data), 0) as address, image_host(folder) as host:
        client = RestClient(address, (Path(data) / "admin-key").read_text(encoding="ascii").strip())
        collection = create_filled(client, "A", [f"{host.address}{file.name}" for file in files])
        finetune(client, collection)
        os.sched_setaffinity(0, {cores[-1]})
        searches = search_messages(files, collection)
        asyncio.run(measure(urlsplit(address).port or 0, searches, child("gateway"), times, seconds))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a folder of photographs")
    parser.add_argument("--times", type=float, default=10.0, help="how many times the capacity (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=120.0, help="of overload (default: %(default)s)")
    options = parser.parse_args()
    run(options.data, options.times, options.seconds)


if __name__ == "__main__":
    main()
