"""An OAI-PMH harvest that is disturbed: pages with 503, a token that expires, and `kill -9` of the trainer at half.

    python -m bench.harvest [--records 100000] [--json FILE]

It starts an instance in a temporary folder, and a repository with pages of 100 records. At the end, each record must be
a row once, and only the page of the kill and the records of one second may have been sent twice. A second reading,
after 1 % of the records were changed, must ask for these only.
"""

import argparse
import asyncio
import csv
import io
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil

from demo.instance import instance
from similis_client import OaiSource, SimilisSync
from tests.integration.trainer.sources.oai_repository import PER_SECOND, Repository, running_repository
from tests.ports import free_port

SETTINGS = {"SIMILIS_LEASE_SECONDS": "5", "SIMILIS_POLL_SECONDS": "0.5", "SIMILIS_LOG_LEVEL": "warning"}
TRAINER = "trainer"
POLL_SECONDS = 0.1
MAX_SECONDS = 900.0


@dataclass
class Harvested:
    """What a disturbed harvest took. sent_twice: records. most_mb: the most that the trainer had resident."""

    records: int
    seconds: float
    sent_twice: int
    most_mb: float
    second_seconds: float = 0.0
    second_records: int = 0
    second_requests: int = 0


@contextmanager
def repository_of(records: int) -> Iterator[Repository]:
    """Run a repository in a thread while entered."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Repository] = []

    async def serve() -> None:
        async with running_repository() as repository:
            repository.fill(records)
            found.append(repository)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait()
    yield found[0]
    loop.call_soon_threadsafe(over.set)
    thread.join()


def trainers() -> list[psutil.Process]:
    """Return the processes of the trainer."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[-2:] == ["-m", TRAINER]:
                found.append(process)
    return found


def wait(is_over: Callable[[], bool]) -> float:
    """Wait until something holds, and return the most megabytes that the trainer had meanwhile."""
    most, deadline = 0.0, time.monotonic() + MAX_SECONDS
    while not is_over():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not over within {MAX_SECONDS:g} s")
        for process in trainers():
            with suppress(psutil.Error):
                most = max(most, process.memory_info().rss / 1e6)
        time.sleep(POLL_SECONDS)
    return most


def run(records: int, folder: Path) -> Harvested:
    """Harvest a repository twice, and return what it took. Raises AssertionError if a record is missing or repeated."""
    with repository_of(records) as repository, instance(folder / "data", free_port(), defaults=SETTINGS) as address:
        pages = records // repository.page_size
        repository.refuse.update({pages // 5: 1, pages * 4 // 5: 1})
        repository.expired = {pages // 3}
        key = (folder / "data" / "admin-key").read_text(encoding="ascii").strip()
        with SimilisSync(address, key) as similis:
            began = time.monotonic()
            source = OaiSource(url=repository.url, metadata_prefix="oai_dc")
            collection = similis.create("Harvest", source=source).id
            most = wait(lambda: len(repository.sent) > records // 2)
            for process in trainers():
                os.kill(process.pid, signal.SIGKILL)
            most = max(most, wait(lambda: not similis.source(collection).source.is_being_read))
            result = Harvested(records, time.monotonic() - began, repository.sent.total() - records, most)
            require(similis.source(collection).source.state == "done", "the reading failed")
            check_rows(address, collection, records)
            require(result.sent_twice <= repository.page_size + PER_SECOND, f"{result.sent_twice} records sent twice")
            changed = range(records // 2, records // 2 + records // 100)
            repository.change(changed)
            repository.sent.clear()
            repository.requests.clear()
            began = time.monotonic()
            similis.read_source(collection)
            wait(lambda: not similis.source(collection).source.is_being_read)
            result.second_seconds = time.monotonic() - began
            result.second_records, result.second_requests = repository.sent.total(), len(repository.requests)
            require(repository.sent == dict.fromkeys(changed, 1), "the second reading asked for other records")
    return result


def check_rows(address: str, collection: int, records: int) -> None:
    """Fail unless the content has each record once, in order."""
    with urlopen(f"{address}/api/collection/{collection}/csvfile") as response:  # noqa: S310 (our own instance)
        rows = list(csv.reader(io.TextIOWrapper(response, "utf-8")))
    entries = [row[1].rpartition("/")[2] for row in rows]
    require(entries == [str(number) for number in range(records)], f"{len(rows)} rows, or in another order")


def require(holds: bool, problem: str) -> None:
    """Raise AssertionError unless something holds."""
    if not holds:
        raise AssertionError(problem)


def main() -> None:
    """Run the benchmark as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="a multiple of 10,000 (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.records, Path(folder))
    text = json.dumps(asdict(result), indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
