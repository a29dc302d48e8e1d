"""The cost of `kill -9`: kills each process of `similis up` at least once during one finetune.

    python bench/kills.py --data FOLDER [--images 6000] [--json FILE]

FOLDER contains photographs. Collection A has each of them once and is finetuned. Collection B repeats them until it has
`--images` rows. During B's finetune, processes are killed at the percentages in KILLS; the supervisor is started again
afterwards. A is searched all the time: each search must find the image itself, get a 503, or fail to connect. At the
end, each image of B must be indexed once, and few images may have been fetched twice.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.parts.image_host import image_host
from bench.parts.instance.finetunes import COPY_SCORE, create_filled, finetune
from bench.parts.photographs import image_files
from demo.instance import instance
from demo.rest_client import Refused, RestClient
from tests.ports import free_port

# Percent done, and the process to kill then, by a word of its command line. Fetching ends at 70.
KILLS = (
    (5, "bin/postgres"),
    (15, "local_qdrant.engine.loop"),
    (20, "local_qdrant"),
    (25, "embedder.workers"),
    (30, "standalone.gateway_and_embedder"),
    (40, "trainer"),
    (50, "standalone.gateway_and_embedder"),
    (60, "standalone"),
    (72, "trainer.learning"),
    (74, "trainer"),
    (90, "local_qdrant.engine.loop"),
    (91, "trainer"),
    (92, "standalone"),
)
POLL_SECONDS = 0.05
T = TypeVar("T")
SETTINGS = {"SIMILIS_LEASE_SECONDS": "5", "SIMILIS_POLL_SECONDS": "0.5"}


@dataclass
class Searching:
    """Searches A again and again until `over` is set, and counts the kinds of answers."""

    client: RestClient
    collection: int
    photographs: dict[str, bytes]
    answers: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Search until `over` is set."""
        names = list(self.photographs)
        number = 0
        while not self.over.wait(POLL_SECONDS):
            name = names[number % len(names)]
            number += 1
            try:
                best = self.client.search(self.collection, self.photographs[name], num_results=1)[0]
                right = best["image_url"].endswith(f"/{name}") and best["score"] >= COPY_SCORE
                self.answers["the image itself" if right else "ANOTHER IMAGE"] += 1
            except Refused as refusal:
                self.answers[str(refusal).split()[2]] += 1
            except (OSError, HTTPException, ValueError):
                self.answers["no connection"] += 1


def again(ask: Callable[[], T]) -> T:
    """Repeat a request until it succeeds, and return its answer."""
    while True:
        with suppress(OSError, HTTPException, ValueError, Refused):
            return ask()
        time.sleep(POLL_SECONDS)


def kill(word: str) -> bool:
    """Kill a descendant process whose module or program is `word`. Returns False if there is none."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(part == word or (word.startswith("bin/") and part.endswith(word)) for part in process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                return True
    return False


@dataclass
class Instance:
    """The instance of `similis up` whose processes are killed."""

    folder: Path
    port: int
    running: ExitStack

    def start(self) -> str:
        """Start it, again after its supervisor was killed, and return its address."""
        self.running.close()
        return self.running.enter_context(instance(self.folder, self.port))

    def finetune_with_kills(self, client: RestClient, collection: int) -> tuple[dict[str, Any], list[str]]:
        """Finetune a collection and kill processes while it runs. Returns its `info` and the processes not killed."""
        client.finetune(collection)
        began, waiting = time.monotonic(), list(KILLS)
        while (info := again(lambda: client.info(collection)))["finetuning_state"] in ("queued", "running"):
            percent = info["finetuning_progess"]
            if waiting and percent >= waiting[0][0] and kill(waiting[0][1]):
                _, killed = waiting.pop(0)
                print(f"{time.monotonic() - began:6.1f} s, {percent:5.1f} %: {killed}")
                if killed == "standalone":
                    self.start()
            time.sleep(POLL_SECONDS)
        return info, [word for _, word in waiting]


def measure(data: Path, images: int) -> dict[str, Any]:
    """Run the benchmark and return its report."""
    photographs = {path.name: path.read_bytes() for path in image_files(data)}
    names = list(photographs)
    with tempfile.TemporaryDirectory() as folder, image_host(data) as host, ExitStack() as running:
        similis = Instance(Path(folder), free_port(), running)
        client = RestClient(similis.start(), (Path(folder) / "admin-key").read_text(encoding="ascii").strip())
        searched = create_filled(client, "A", [f"{host.address}{name}" for name in names])
        finetune(client, searched)
        searching = Searching(client, searched, photographs)
        thread = threading.Thread(target=searching.run)
        thread.start()
        before = host.requests()
        other = create_filled(client, "B", [f"{host.address}{n}/{names[n % len(names)]}" for n in range(images)])
        began = time.monotonic()
        info, not_killed = similis.finetune_with_kills(client, other)
        seconds = time.monotonic() - began
        failures = again(lambda: client.number_of_failures(other))
        searching.over.set()
        thread.join()
        requests, paths = (after - start for after, start in zip(host.requests(), before, strict=True))
    return {
        "state": info["finetuning_state"],
        "seconds": round(seconds, 1),
        "indexed": (info.get("quality") or {}).get("images"),
        "failures": failures,
        "fetched_twice": requests - paths,
        "share_fetched_twice": round((requests - paths) / images, 4),
        "killed": len(KILLS) - len(not_killed),
        "not_killed": not_killed,
        "searches": dict(searching.answers),
    }


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--images", type=int, default=6000, help="rows of collection B")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    os.environ.update(SETTINGS)
    report = json.dumps(measure(options.data, options.images), indent=2)
    print(report)
    if options.json:
        options.json.write_text(report + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
