"""How much searches in one collection slow down while another one is finetuned, through all of `similis up`.

    python bench/search_beside_finetune.py --data FOLDER [--images 20000] [--seconds 900]

FOLDER has photographs. Collection A has each of them once, and each must find itself with a score of at least 0.99.
Collection B repeats them under other URLs until it has `--images` rows. While B is finetuned, A is searched, one search
after the other. The table shows the latencies by phase of B's finetune, and those without a finetune.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.parts.image_host import image_host
from bench.parts.photographs import image_files
from demo.instance import instance
from demo.rest_client import RestClient

COPY_SCORE = 0.99
IDLE_SEARCHES = 200
PAUSE_SECONDS = 0.05
INFO_EVERY = 10


def finetune(client: RestClient, collection: int) -> None:
    """Finetune a collection and wait until it is done."""
    client.finetune(collection)
    while (state := client.info(collection)["finetuning_state"]) in ("queued", "running"):
        time.sleep(0.5)
    if state != "done":
        raise SystemExit(f"the finetune ended in state {state!r}")


def create_filled(client: RestClient, name: str, urls: list[str]) -> int:
    """Create a collection in which each image is a separate object, and return its id."""
    collection = client.create(name)
    client.upload(collection, "\n".join(f"{url},https://repository.example.org/{n}" for n, url in enumerate(urls)))
    return collection


def timed_search(client: RestClient, collection: int, image: bytes) -> float:
    """Search once and return the milliseconds that it took."""
    began = time.perf_counter()
    client.search(collection, image, num_results=5)
    return 1000 * (time.perf_counter() - began)


def row(name: str, times: list[float]) -> str:
    """Return a row of the table."""
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    return f"{name:<12}{len(times):>9}{p50:>9.1f}{p95:>9.1f}{p99:>9.1f}{max(times):>9.1f}"


def count_wrong(client: RestClient, collection: int, address: str, photographs: Mapping[str, bytes]) -> int:
    """Return how many photographs do not find themselves first with the score of a copy."""
    wrong = 0
    for name, image in photographs.items():
        best = client.search(collection, image, num_results=1)[0]
        wrong += best["image_url"] != f"{address}{name}" or best["score"] < COPY_SCORE
    return wrong


def search_during(
    client: RestClient, finetuned: int, searched: int, images: Sequence[bytes], seconds: float
) -> dict[str, list[float]]:
    """Search one collection while another is finetuned, for `seconds` at most. Return the latencies (ms) by phase."""
    times: dict[str, list[float]] = defaultdict(list)
    end, number = time.monotonic() + seconds, 0
    info = client.info(finetuned)
    while info["finetuning_state"] in ("queued", "running") and time.monotonic() < end:
        times[str(info["finetuning_phase"])].append(timed_search(client, searched, images[number % len(images)]))
        number += 1
        if number % INFO_EVERY == 0:
            info = client.info(finetuned)
        time.sleep(PAUSE_SECONDS)
    print(f"B's finetune ended in state {info['finetuning_state']!r}")
    return times


def measure(folder: Path, rows: int, seconds: float) -> dict[str, list[float]]:
    """Return the latencies (ms) of searches without a finetune and in each phase of one."""
    photographs = {path.name: path.read_bytes() for path in image_files(folder)}
    names, images = list(photographs), list(photographs.values())
    with tempfile.TemporaryDirectory() as data, instance(Path(data), 0) as address, image_host(folder) as host:
        client = RestClient(address, (Path(data) / "admin-key").read_text(encoding="ascii").strip())
        searched = create_filled(client, "A", [f"{host.address}{name}" for name in names])
        finetune(client, searched)
        wrong = count_wrong(client, searched, host.address, photographs)
        print(f"{len(names)} photographs searched, {wrong} did not find themselves first with at least {COPY_SCORE}")
        idle = []
        for number in range(IDLE_SEARCHES):
            idle.append(timed_search(client, searched, images[number % len(images)]))
            time.sleep(PAUSE_SECONDS)
        other = create_filled(client, "B", [f"{host.address}{n}/{names[n % len(names)]}" for n in range(rows)])
        client.finetune(other)
        return {"idle": idle, **search_during(client, other, searched, images, seconds)}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a folder of photographs")
    parser.add_argument("--images", type=int, default=20_000, help="rows of collection B (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=900.0, help="stop searching after this time")
    options = parser.parse_args()
    times = measure(options.data, options.images, options.seconds)
    print(f"\n{'ms':<12}{'searches':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for name, found in times.items():
        print(row(name, found))


if __name__ == "__main__":
    main()
