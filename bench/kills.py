"""What `kill -9` costs: each process of `similis up` is killed once or more during one finetune.

    python bench/kills.py --data FOLDER [--images 6000] [--json FILE]

FOLDER has photographs. Collection A has them, finetuned; collection B has them over and over, until there are
`--images` rows. While B is finetuned, processes are killed at the percentages below, the supervisor too, which is
started again. A is searched all the time: an answer has to be one of its index, or 503, or no connection. At the end
each image of B must be indexed once, and as few as possible fetched or embedded twice.
"""

import argparse
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import psutil

from bench.parts.image_host import image_host
from bench.parts.photographs import images_of
from bench.search_beside_finetune import COPY_SCORE, filled, finetuned
from demo.instance import instance
from demo.rest_client import Refused, RestClient

# Percent done, and the word in the command line of what is killed then. Fetching ends at 70.
KILLS = (
    (5, "bin/postgres"),
    (15, "local_qdrant.engine.loop"),
    (20, "local_qdrant"),
    (25, "embedder.workers"),
    (30, "embedder"),
    (40, "trainer"),
    (50, "gateway"),
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
    """Searches of A, one after the other, until `over`: how often each kind of answer came."""

    client: RestClient
    collection: int
    photographs: dict[str, bytes]
    answers: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Searches."""
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
    """An answer, as soon as there is one."""
    while True:
        with suppress(OSError, HTTPException, ValueError, Refused):
            return ask()
        time.sleep(POLL_SECONDS)


def kill(word: str) -> bool:
    """Kills a process below this one whose module or program is `word`; says whether there was one."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(part == word or (word.startswith("bin/") and part.endswith(word)) for part in process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                return True
    return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    """Kills and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.update(SETTINGS)
    photographs = {path.name: path.read_bytes() for path in images_of(options.data)}
    names, port = list(photographs), free_port()
    with tempfile.TemporaryDirectory() as folder, image_host(options.data) as host, ExitStack() as running:
        address = running.enter_context(instance(Path(folder), port))
        client = RestClient(address, (Path(folder) / "admin-key").read_text(encoding="ascii").strip())
        searched = filled(client, "A", [f"{host.address}{name}" for name in names])
        finetuned(client, searched)
        searching = Searching(client, searched, photographs)
        thread = threading.Thread(target=searching.run)
        thread.start()
        before = host.asked()
        other = filled(client, "B", [f"{host.address}{n}/{names[n % len(names)]}" for n in range(options.images)])
        client.finetune(other)
        began, waiting = time.monotonic(), list(KILLS)
        while (info := again(lambda: client.info(other)))["finetuning_state"] in ("queued", "running"):
            if waiting and info["finetuning_progess"] >= waiting[0][0] and kill(waiting[0][1]):
                print(f"{time.monotonic() - began:6.1f} s, {info['finetuning_progess']:5.1f} %: {waiting[0][1]}")
                if waiting.pop(0)[1] == "standalone":
                    running.close()
                    running.enter_context(instance(Path(folder), port))
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        failures = again(lambda: client.number_of_failures(other))
        searching.over.set()
        thread.join()
        requests, paths = (after - start for after, start in zip(host.asked(), before, strict=True))
    report = {
        "state": info["finetuning_state"],
        "seconds": round(seconds, 1),
        "indexed": (info.get("quality") or {}).get("images"),
        "failures": failures,
        "fetched_twice": requests - paths,
        "share_fetched_twice": round((requests - paths) / options.images, 4),
        "killed": len(KILLS) - len(waiting),
        "not_killed": [word for _, word in waiting],
        "searches": dict(searching.answers),
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
