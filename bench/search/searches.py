"""Measure searches from HTTP to the answer, beside what they could take at best.

    python bench/search/searches.py [--rows 10000] [--rounds 5] [--seconds 3] [--data FOLDER] [--json FILE]

Three things run in turns, so that ratios do not depend on what else the machine does: all of `similis up`; a plain
alternative, which is one process without databases (`bench/parts/search/plain_service.py`); and the bound, which is the
embedder's decoder and engine in one process for each core, with nothing around them. Compare ratios, and not the
absolute figures of different runs. The client runs on the same cores. The table shows the median, the lowest and the
highest round.
"""

import argparse
import asyncio
import base64
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.embedder import bare_rate
from bench.parts.measuring_process import Answer, MeasuringProcess, quantile
from bench.parts.rounds import Rounds
from bench.parts.sample_images import sample_images
from bench.parts.search.chart import chart
from bench.parts.search.cpu_times import cpu_times, instance_process, milliseconds_for_each
from bench.parts.search.filled_instance import Filled, filled_collections
from bench.parts.search.http_load import save_requests
from bench.parts.search.stage_times import StageTimes
from demo.instance import instance
from demo.rest_client import RestClient
from embedder.backbones.resolve import resolve_backbone
from embedder.config import worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import usable_cores

# JPEGs of about 100 kB.
SIZE = (960, 692)
CLIENTS = (1, 4, 16, 64)
OTHER_CLIENTS = (1, 16)
SMALL_COLLECTIONS, SMALL_ROWS = 20, 500
COPY_SCORE = 0.99
IDS = 500
# What we want to hold.
AT_LEAST = {
    **{f"searches_{clients}_vs_plain": 1.0 for clients in (4, 16, 64)},
    **{f"searches_{clients}_vs_bound": 0.8 for clients in (4, 16, 64)},
}
AT_MOST = {
    "p50_1_over_plain_ms": 2.0,
    "p99_4_vs_p50": 2.0,
    "p99_16_vs_p50": 2.0,
    "id_p50_1_ms": 5.0,
    "across_20_vs_1": 3.0,
}


@dataclass(frozen=True)
class Sides:
    """What is compared. similis, plain: host and port. load: the client. bare: processes that only decode and infer."""

    similis: tuple[str, int]
    plain: tuple[str, int]
    load: MeasuringProcess
    bare: Sequence[MeasuringProcess]
    requests: Mapping[str, Path]
    process: psutil.Process

    def measured(self, where: tuple[str, int], kind: str, seconds: float, clients: int) -> Answer:
        """Send requests of one kind, and return what the client measured."""
        host, port = where
        file = str(self.requests[kind])
        return self.load.ask(do="load", file=file, host=host, port=port, seconds=seconds, clients=clients)


def rate(answer: Answer) -> float:
    """Return the searches a second in an answer."""
    return len(answer["milliseconds"]) / float(answer["seconds"])


def measure_images(rounds: Rounds, sides: Sides, stages: StageTimes, seconds: float, clients: int) -> None:
    """Measure searches by an image in JSON on all sides."""
    before = bare_rate(list(sides.bare), seconds / 2)
    plain = sides.measured(sides.plain, "json", seconds, clients)
    cpu = cpu_times(sides.process)
    with stages.of(f"{clients}"):
        similis = sides.measured(sides.similis, "json", seconds, clients)
    cpu = milliseconds_for_each(cpu, cpu_times(sides.process), len(similis["milliseconds"]))
    after = bare_rate(list(sides.bare), seconds / 2)
    bound = statistics.mean((before, after))
    searches = len(similis["milliseconds"])
    rounds.add(f"bound_beside_{clients}", bound)
    for name, answer in (("plain", plain), ("similis", similis)):
        rounds.add(f"{name}_searches_{clients}", rate(answer))
        for share in (0.5, 0.99):
            rounds.add(f"{name}_p{100 * share:.0f}_{clients}_ms", quantile(answer["milliseconds"], share))
    rounds.add(f"searches_{clients}_vs_plain", rate(similis) / rate(plain))
    rounds.add(f"searches_{clients}_vs_bound", rate(similis) / bound)
    p50, p99 = (quantile(similis["milliseconds"], share) for share in (0.5, 0.99))
    rounds.add(f"p50_{clients}_over_plain_ms", p50 - quantile(plain["milliseconds"], 0.5))
    rounds.add(f"p99_{clients}_vs_p50", p99 / p50)
    rounds.add(f"client_cpu_{clients}_ms", 1000 * float(similis["cpu_seconds"]) / searches)
    for role, taken in cpu.items():
        rounds.add(f"{role}_cpu_{clients}_ms", taken)


def measure_others(rounds: Rounds, sides: Sides, seconds: float) -> None:
    """Measure other ways to ask: the file itself as the body, and the id of an indexed image."""
    for kind in ("raw", "id"):
        for clients in OTHER_CLIENTS:
            plain = sides.measured(sides.plain, kind, seconds, clients)
            cpu = cpu_times(sides.process)
            similis = sides.measured(sides.similis, kind, seconds, clients)
            taken = milliseconds_for_each(cpu, cpu_times(sides.process), len(similis["milliseconds"]))
            rounds.add(f"{kind}_searches_{clients}", rate(similis))
            rounds.add(f"{kind}_searches_{clients}_vs_plain", rate(similis) / rate(plain))
            rounds.add(f"{kind}_p50_{clients}_ms", quantile(similis["milliseconds"], 0.5))
            rounds.add(f"{kind}_p99_{clients}_ms", quantile(similis["milliseconds"], 0.99))
            rounds.add(f"{kind}_cpu_{clients}_ms", sum(taken.values()))


def measure_across(rounds: Rounds, sides: Sides, seconds: float) -> None:
    """Compare one search over many collections with one over a single one."""
    one = sides.measured(sides.similis, "across_1", seconds, 1)
    cpu = cpu_times(sides.process)
    many = sides.measured(sides.similis, "across_20", seconds, 1)
    taken = milliseconds_for_each(cpu, cpu_times(sides.process), len(many["milliseconds"]))
    p50_one, p50_many = (quantile(answer["milliseconds"], 0.5) for answer in (one, many))
    rounds.add("across_1_p50_ms", p50_one)
    rounds.add("across_20_p50_ms", p50_many)
    rounds.add("across_20_vs_1", p50_many / p50_one)
    rounds.add("across_20_gateway_cpu_ms", taken["gateway"])
    rounds.add("across_20_cpu_ms", sum(taken.values()))


def saved(folder: Path, images: Sequence[bytes], large: Filled, small: Sequence[Filled], host: str) -> dict[str, Path]:
    """Write the requests of each kind to a file, and return the files."""
    search = f"/api/collection/{large.collection}/search"
    asked = large.ids[:: max(1, len(large.ids) // IDS)]
    encoded = [base64.b64encode(image).decode() for image in images]
    some = [filled.collection for filled in small]
    kinds = {
        "json": [_post(host, search, "application/json", json.dumps({"image": text}).encode()) for text in encoded],
        "raw": [_post(host, search, "image/jpeg", image) for image in images],
        "id": [_get(host, f"/api/collection/{large.collection}/similar?image_id={each}") for each in asked],
        "across_1": [_across(host, some[:1], text) for text in encoded],
        "across_20": [_across(host, some, text) for text in encoded],
    }
    files = {kind: folder / f"{kind}.requests" for kind in kinds}
    for kind, requests in kinds.items():
        save_requests(files[kind], requests)
    return files


def _across(host: str, collections: Sequence[int], image: str) -> bytes:
    body = json.dumps({"image": image, "collections": collections}).encode()
    return _post(host, "/api/search", "application/json", body)


def _get(host: str, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _post(host: str, path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def started(options: argparse.Namespace, data: Path, scratch: Path) -> Iterator[tuple[Sides, StageTimes]]:
    """Run all sides while entered, with filled collections."""
    images = sample_images(str(options.images or ""), tuple(options.size))
    folder = scratch / "images"
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number:04}.jpg").write_bytes(image)
    with ExitStack() as stack:
        address = stack.enter_context(instance(data, 0))
        key = (data / "admin-key").read_text(encoding="ascii").strip()
        client = RestClient(address, key)
        sizes = {"large": options.rows} | {f"small-{n}": SMALL_ROWS for n in range(SMALL_COLLECTIONS)}
        filled, vectors = asyncio.run(filled_collections(data, client, images, sizes))
        check_answers(client, filled["large"], images)
        small = [found for name, found in filled.items() if name != "large"]
        source = resolve_backbone("efficientnet-lite0", None)
        model = str(asyncio.run(converted_model(source, data / "models", worker_environment())).model)
        plain = PlainProcess(source.to_json(), model, str(vectors))
        stack.callback(plain.close)
        environment = worker_environment()
        bare = [
            MeasuringProcess("bare_loop", "openvino", source.to_json(), model, "1", str(folder), env=environment)
            for _ in range(usable_cores())
        ]
        load = MeasuringProcess("search.http_load")
        for process in (*bare, load):
            stack.callback(process.close)
        parts = urlsplit(address)
        similis = (parts.hostname or "", parts.port or 80)
        requests = saved(scratch, images, filled["large"], small, parts.netloc)
        sides = Sides(similis, ("127.0.0.1", plain.port), load, bare, requests, instance_process())
        yield sides, StageTimes(address)


class PlainProcess(MeasuringProcess):
    """The plain alternative. It answers no commands, but says its port first, in JSON."""

    def __init__(self, source: str, model: str, data: str) -> None:
        super().__init__("search.plain_service", source, model, data, env=worker_environment())
        self.port = int(self.result()["port"])


def check_answers(client: RestClient, large: Filled, images: Sequence[bytes]) -> None:
    """Exit unless each of the first images finds itself."""
    for place, image in enumerate(images[:10]):
        best = client.search(large.collection, image, num_results=1)[0]
        if best["image_id"] != large.ids[place] or best["score"] < COPY_SCORE:
            raise SystemExit(f"the image {large.ids[place]} did not find itself, but {best}")


def measure(options: argparse.Namespace) -> tuple[Rounds, StageTimes]:
    """Run all rounds."""
    rounds = Rounds()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or Path(scratch) / "data"
        with started(options, data, Path(scratch)) as (sides, stages):
            for where in (sides.plain, sides.similis):
                sides.measured(where, "json", 1.0, 4)
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", flush=True)
                for clients in options.clients:
                    measure_images(rounds, sides, stages, options.seconds, clients)
                if not options.quick:
                    measure_others(rounds, sides, options.seconds)
                    measure_across(rounds, sides, options.seconds)
    return rounds, stages


def show(rounds: Rounds, stages: StageTimes) -> None:
    """Print the tables."""
    print(f"{'':34}{'median':>10}{'lowest':>10}{'highest':>10}   wanted")
    for name, values in sorted(rounds.values.items()):
        median = rounds.median(name)
        print(f"{name:34}{median:10.2f}{min(values):10.2f}{max(values):10.2f}{verdict(name, median)}")
    print("\nmean milliseconds of each stage, by the number of clients")
    for clients, means in stages.means().items():
        print(f"{clients:>4}  " + "  ".join(f"{stage} {mean:.2f}" for stage, mean in means.items()))


def verdict(name: str, value: float) -> str:
    """Return what we want of this figure and whether it holds, or "" if we want nothing."""
    if name in AT_LEAST:
        return f"   at least {AT_LEAST[name]:g}: {'ok' if value >= AT_LEAST[name] else 'MISSED'}"
    if name in AT_MOST:
        return f"   at most {AT_MOST[name]:g}: {'ok' if value <= AT_MOST[name] else 'MISSED'}"
    return ""


def main() -> None:
    """Parse the options, measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="images of the collection (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="default: 1 4 16 64")
    parser.add_argument("--quick", action="store_true", help="measure only searches by an image in JSON")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=SIZE,
        metavar=("WIDTH", "HEIGHT"),
        help="of the images that are searched by",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="search by the images of DIR, as they are")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep the instance in FOLDER, and use it again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw the figures as an SVG")
    options = parser.parse_args()
    rounds, stages = measure(options)
    show(rounds, stages)
    medians = {name: round(rounds.median(name), 4) for name in rounds.values}
    if options.chart:
        options.chart.write_text(chart(medians, options.clients), encoding="utf-8")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"medians": medians, "rounds": rounds.values, "stages": stages.means(), "rows": options.rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
