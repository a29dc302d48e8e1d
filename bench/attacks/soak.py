"""An instance at work for an hour while its processes are killed at random: nothing may leak, and no answer be wrong.

    python -m bench.attacks.soak [--minutes 60] [--violent 0.5] [--pause 1.0] [--seed 1] [--json FILE]

One client searches, uploads, renames, finetunes, cancels, creates and deletes, and knows what each answer must be. In
the first part any process is killed: services, databases, engines, workers, the supervisor. In the second part only
engines and workers are, so that the services grow old. Descriptors, sockets, temporary files, rows and Qdrant
collections are read when nothing runs: after the first fifth of the second part, and at the end. Memory is read twice a
minute in between. Its growth is that of the median of the last third over that of the first third.
"""

import argparse
import base64
import json
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.running_instance import RunningInstance, until
from tests.integration.gateway.indexing import picture
from tests.reliability.parts.changing import ChangingCollection
from tests.reliability.parts.museum import PICTURE_SIZE, Museum, running_museum
from tests.reliability.parts.rest import Rest, Row, csv, rows_found
from tests.reliability.parts.stored import Stored

SETTINGS = {
    "SIMILIS_WORKERS": "1",
    "SIMILIS_LEASE_SECONDS": "5",
    "SIMILIS_JANITOR_SECONDS": "10",
    "SIMILIS_INDEX_GRACE_SECONDS": "5",
    "SIMILIS_CONTENT_GRACE_SECONDS": "5",
    "SIMILIS_MAX_RESTART_DELAY_SECONDS": "2",
}
# The embedder is in the process of the gateway.
SERVICES = ("gateway", "trainer", "local_qdrant", "bin/postgres")
# Processes that a service starts again.
HELPERS = ("local_qdrant.engine.loop", "embedder.workers")
KILL_SECONDS = (20.0, 60.0)
# The supervisor takes a while to be started again.
SUPERVISOR_SHARE = 0.08
# Of the second part. Until then caches and pools fill.
WARM_SHARE = 0.2
MEMORY_SECONDS = 30.0
QUIET_SECONDS = 300.0
MAY_FAIL = (0, 429, 503, 504)
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"


class Wrong(Exception):
    """An answer that is not right."""


@dataclass
class Usage:
    """What an idle instance holds. memory: unique set size of each service in MiB."""

    memory: dict[str, float]
    descriptors: dict[str, int]
    sockets: dict[str, int]
    temporary_files: int
    qdrant_collections: int
    discarded_vectors: int
    rows: dict[str, int]
    ages: dict[str, float]


@dataclass
class Soak:
    """The instance, and what the client knows of it."""

    data: Path
    museum: Museum
    random: random.Random
    instance: RunningInstance
    rest: Rest
    kept: list[ChangingCollection] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)

    def start(self) -> None:
        """Start the instance again, after its supervisor was killed."""
        with suppress(ProcessLookupError):
            self.instance.process.kill()
        self.instance.process.wait()
        self.instance = started(self.data)
        key = (self.data / "admin-key").read_text(encoding="ascii").strip()
        self.rest = Rest(self.instance.address, key)
        for collection in self.kept:
            collection.rest = self.rest

    def act(self) -> None:
        """Do one thing."""
        action = self.random.choices([act for act, _ in self.actions], [share for _, share in self.actions])[0]
        name = action.__name__
        self.asked[name] += 1
        try:
            action()
        except (Wrong, AssertionError) as error:
            self.wrong.append(f"{name}: {error!r}"[:500])
            print(f"WRONG {self.wrong[-1]}", flush=True)

    @property
    def actions(self) -> list[tuple[Callable[[], None], float]]:
        """What is done, and how often."""
        return [
            (self.search_by_image, 30),
            (self.search_by_id, 30),
            (self.read, 12),
            (self.replace_an_image, 6),
            (self.rename, 3),
            (self.finetune, 4),
            (self.cancel, 1),
            (self.come_and_go, 2),
            (self.send_nonsense, 4),
        ]

    def search_by_image(self) -> None:
        collection = self._any()
        image, _ = collection.rows[0]
        body = {"image": base64.b64encode(self._picture(image)).decode(), "num_results": 1}
        answer = self.rest.call("POST", f"/collection/{collection.id}/search", body)
        if self._answered("search_by_image", answer.status):
            _require(rows_found(answer)[0][0] == image, answer)

    def search_by_id(self) -> None:
        # Checks the answer itself.
        collection = self._any()
        self._answered("search_by_id", collection.search().status)

    def read(self) -> None:
        collection = self._any()
        found = self.rest.call("GET", f"/collection/{collection.id}/csvfile")
        if self._answered("read", found.status):
            _require(found.raw == csv(collection.rows), found)
        listed = self.rest.call("GET", "/collection/list")
        if self._answered("read", listed.status):
            names = {entry["id"]: entry["name"] for entry in listed.body["names"]}
            _require(all(names.get(identifier) == name for identifier, name in self.names.items()), listed)

    def replace_an_image(self) -> None:
        collection = self._any()
        if self._is_active(collection):
            return
        before = list(collection.rows)
        if not self._answered("replace_an_image", collection.replace_one().status):
            # Not confirmed: it may be stored, or not.
            stored = self.rest.content(collection.id)
            _require(stored in (before, collection.rows), stored)
            collection.rows = stored
            collection.contents.append(sorted(stored))

    def rename(self) -> None:
        collection = self._any()
        name = f"renamed {self.random.randrange(1000)}"
        self.rest.insist("POST", f"/collection/{collection.id}/updatename", {"name": name})
        self.names[collection.id] = name

    def finetune(self) -> None:
        collection = self._any()
        info = self.rest.info(collection.id)
        _require(info["finetuning_state"] != "failed", info)
        self.rest.finetune(collection.id)

    def cancel(self) -> None:
        collection = self._any()
        self.rest.insist("POST", f"/collection/{collection.id}/finetune/cancel")

    def come_and_go(self) -> None:
        # Created again if the first answer was lost, so more than one may have to go.
        name = f"passing {self.random.randrange(10**9)}"
        answer = self.rest.insist("POST", "/collection/create", {"name": name})
        rows = [(f"{self.museum.address}{n}.jpg", f"https://repo.example.org/{n}") for n in range(4)]
        self._upload(int(answer.body["id"]), rows)
        self.rest.finetune(int(answer.body["id"]))
        for identifier, found in self.rest.collections().items():
            if found == name:
                self._delete(identifier)

    def send_nonsense(self) -> None:
        collection = self._any()
        answer = self.rest.call("POST", f"/collection/{collection.id}/search", {"image": "bm90IGFuIGltYWdl"})
        if self._answered("send_nonsense", answer.status, expected=400):
            _require(answer.status == 400, answer)

    def kill(self, everything: bool) -> None:
        """Kill a process. everything: any, not only helpers."""
        word = self.random.choice((*SERVICES, *HELPERS) if everything else HELPERS)
        print(f"{sum(self.asked.values())} requests, {sum(self.kills.values())} kills, next {word}", flush=True)
        if everything and self.random.random() < SUPERVISOR_SHARE:
            self.kills["supervisor"] += 1
            self.instance.process.send_signal(signal.SIGKILL)
            self.start()
            return
        victims = [found for found in self.instance.family() if word in _command(found)]
        if word in SERVICES:
            victims = [found for found in victims if found.ppid() == self.instance.process.pid]
        with suppress(psutil.Error, IndexError):
            self.random.choice(victims).kill()
            self.kills[word] += 1

    def settle(self) -> None:
        """Finetune everything, and wait until nothing is left to do."""
        for collection in self.kept:
            end = time.monotonic() + QUIET_SECONDS
            while self._is_active(collection) and time.monotonic() < end:
                time.sleep(0.5)
            collection.finetuned()
        stored = Stored(self.data)
        until(lambda: stored.rows("SELECT 1 FROM collections WHERE deleting_at IS NOT NULL") == [], QUIET_SECONDS)
        until(
            lambda: (
                stored.rows(
                    "SELECT 1 FROM indexes i WHERE NOT EXISTS (SELECT FROM collections c WHERE c.live_index = i.id)"
                )
                == []
            ),
            QUIET_SECONDS,
        )
        # Rows and files of replaced contents go a while after that.
        time.sleep(30.0)

    def memory_now(self) -> dict[str, float]:
        """Return the memory of each service with its workers and engines, in MiB."""
        found = {}
        for word in SERVICES:
            service = self.instance.child(word)
            family = [service, *service.children(recursive=True)]
            found[word] = round(sum(map(_memory, family)) / 2**20, 1)
        return found

    def usage(self) -> Usage:
        """Return what the instance holds now."""
        stored = Stored(self.data)
        mains = {word: self.instance.child(word) for word in SERVICES}
        tables = [str(table) for (table,) in stored.rows(TABLES)]
        return Usage(
            memory=self.memory_now(),
            descriptors={word: process.num_fds() for word, process in mains.items()},
            sockets={word: len(process.net_connections("all")) for word, process in mains.items()},
            temporary_files=len(list(_temporary_files(self.data))),
            qdrant_collections=len(stored.vectors()),
            discarded_vectors=len(stored.discarded_vectors()),
            rows={table: int(str(stored.rows(f"SELECT count(*) FROM {table}")[0][0])) for table in tables},  # noqa: S608
            ages={word: round(time.time() - process.create_time()) for word, process in mains.items()},
        )

    def _any(self) -> ChangingCollection:
        return self.random.choice(self.kept)

    def _is_active(self, collection: ChangingCollection) -> bool:
        return self.rest.info(collection.id)["finetuning_state"] in ("queued", "running")

    def _answered(self, action: str, status: int, expected: int = 200) -> bool:
        if status in MAY_FAIL:
            self.failed[f"{action} {status}"] += 1
            return False
        _require(status == expected, status)
        return True

    def _picture(self, url: str) -> bytes:
        return picture(int(Path(url).stem), PICTURE_SIZE)

    def _upload(self, collection: int, rows: list[Row]) -> None:
        end = time.monotonic() + QUIET_SECONDS
        while (answer := self.rest.upload(collection, rows)).status != 200:
            _require(answer.status in MAY_FAIL and time.monotonic() < end, answer)
            time.sleep(0.2)

    def _delete(self, collection: int) -> None:
        while (answer := self.rest.call("POST", f"/collection/{collection}/delete")).status != 200:
            if answer.code == "collection_not_found":
                return
            _require(answer.status in MAY_FAIL, answer)
            time.sleep(0.2)


def _require(condition: bool, found: object) -> None:
    if not condition:
        raise Wrong(found)


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _memory(process: psutil.Process) -> int:
    """Return the memory that only this process has."""
    with suppress(psutil.Error):
        size: int = process.memory_full_info().uss
        return size
    return 0


def _temporary_files(data: Path) -> Iterator[Path]:
    for folder in (data / "spool", Path(os.environ["TMPDIR"])):
        yield from (path for path in folder.rglob("*") if path.is_file())


def started(data: Path) -> RunningInstance:
    """Start the instance."""
    return RunningInstance.start(data, "--allow-private-addresses", environment=SETTINGS)


def run(soak: Soak, minutes: float, violent: float, pause: float) -> dict[str, Any]:
    """Return the report of a soak."""
    for number in range(3):
        name = f"kept {number}"
        soak.kept.append(ChangingCollection.create(soak.rest, soak.museum.address, name))
        soak.names[soak.kept[-1].id] = name
    began, seconds = time.monotonic(), minutes * 60.0
    print("filled", flush=True)
    _work(soak, began + seconds * violent, pause, everything=True)
    soak.settle()
    first = soak.usage()
    _work(soak, time.monotonic() + seconds * (1 - violent) * WARM_SHARE, pause, everything=False)
    soak.settle()
    warm = soak.usage()
    print(f"warm {warm}", flush=True)
    soak.memory.clear()
    _work(soak, time.monotonic() + seconds * (1 - violent) * (1 - WARM_SHARE), pause, everything=False)
    soak.settle()
    last = soak.usage()
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "asked": dict(soak.asked),
        "failed": dict(soak.failed),
        "kills": dict(soak.kills),
        "wrong": soak.wrong,
        "searches": {"answered": sum(c.answered for c in soak.kept), "refused": sum(c.refused for c in soak.kept)},
        "indexes": sum(len(c.indexes) for c in soak.kept),
        "after_kills": vars(first),
        "warm": vars(warm),
        "end": vars(last),
        "memory": soak.memory,
        "memory_growth_percent": memory_growth(soak.memory),
    }


def memory_growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """Return by how many percent the memory of each service, and of all, grew from the first third to the last."""
    third = max(1, len(samples) // 3)

    def grown(sizes: list[float]) -> float:
        return round(100 * (statistics.median(sizes[-third:]) / statistics.median(sizes[:third]) - 1), 1)

    growth = {word: grown([sample[word] for sample in samples]) for word in SERVICES}
    return growth | {"all": grown([sum(sample.values()) for sample in samples])}


def _work(soak: Soak, end: float, pause: float, *, everything: bool) -> None:
    next_kill = time.monotonic() + soak.random.uniform(*KILL_SECONDS)
    next_sample = time.monotonic()
    while time.monotonic() < end:
        soak.act()
        if not everything and time.monotonic() >= next_sample:
            soak.memory.append(soak.memory_now())
            next_sample = time.monotonic() + MEMORY_SECONDS
        if time.monotonic() >= next_kill:
            soak.kill(everything)
            next_kill = time.monotonic() + soak.random.uniform(*KILL_SECONDS)
        time.sleep(pause)


def main() -> None:
    """Run the soak and print its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--violent", type=float, default=0.5, help="share of the time in which services are killed")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_museum() as museum:
        temporary = Path(folder, "tmp")
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        data = Path(folder, "data")
        instance = started(data)
        key = (data / "admin-key").read_text(encoding="ascii").strip()
        soak = Soak(data, museum, random.Random(options.seed), instance, Rest(instance.address, key))
        try:
            report = json.dumps(run(soak, options.minutes, options.violent, options.pause), indent=2)
        finally:
            soak.instance.stop()
    print(report)
    if options.json:
        options.json.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
