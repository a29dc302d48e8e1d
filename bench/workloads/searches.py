"""Searches from HTTP to the answer, beside what they could take at best.

Three things run in turns, so that ratios do not depend on what else the machine does: all of `similis up`; a plain
alternative, which is one process without databases (`bench/parts/search/plain_service.py`); and the bound, which is the
embedder's decoder and engine in one process for each core, with nothing around them. The client runs on the same cores.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.parts.bound import Bound, converted, running_bound
from bench.parts.instance.finetunes import COPY_SCORE, admin_client
from bench.parts.instance.processes import cpu_times, milliseconds_for_each, running_instance
from bench.parts.instance.running import similis
from bench.parts.measuring_process import Answer, MeasuringProcess, quantile
from bench.parts.report.chart import Chart, Panel
from bench.parts.report.figures import Bar, Figure, at_least, at_most, compared, figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.parts.rounds import Rounds
from bench.parts.sample_images import sample_images
from bench.parts.search.filled_instance import Filled, filled_collections, save_vectors
from bench.parts.search.http_load import save_requests
from bench.parts.search.requests import across, by_file, by_id, by_image, in_turns
from bench.parts.search.stage_times import StageTimes
from bench.workloads.options import Options
from demo.rest_client import RestClient
from embedder.config import worker_environment

# JPEGs of about 100 kB, and 3 megapixels.
SIZE, LARGE_SIZE = (960, 692), (2048, 1536)
LARGE_IMAGES, LARGE_CLIENTS = 24, (1, 4)
OTHER_CLIENTS = (1, 16)
TOGETHER_CLIENTS = (4, 16)
SMALL_COLLECTIONS, SMALL_ROWS, TOGETHER = 20, 500, 10
IDS = 500
WARM_SECONDS = 1.0
# What we want of a search by an image.
VS_BOUND, VS_PLAIN = at_least(0.8, of_reference=True), at_least(1.0, of_reference=True)
P99_OVER_P50 = at_most(2.0, of_reference=True)


@dataclass(frozen=True)
class Sides:
    """What is compared. similis, plain: host and port. load: the client. bounds: by kind of image."""

    similis: tuple[str, int]
    plain: tuple[str, int]
    load: MeasuringProcess
    bounds: Mapping[str, Bound]
    requests: Mapping[str, Path]
    process: psutil.Process
    stages: StageTimes

    def measured(self, where: tuple[str, int], kind: str, seconds: float, clients: int) -> Answer:
        """Send requests of one kind, and return what the client measured."""
        host, port = where
        file = str(self.requests[kind])
        return self.load.ask(do="load", file=file, host=host, port=port, seconds=seconds, clients=clients)

    def cpu(self, kind: str, seconds: float, clients: int) -> tuple[Answer, dict[str, float]]:
        """Return what the client measured of Similis, and the CPU milliseconds of a search by role."""
        before = cpu_times(self.process)
        answer = self.measured(self.similis, kind, seconds, clients)
        return answer, milliseconds_for_each(before, cpu_times(self.process), len(answer["milliseconds"]))


def rate(answer: Answer) -> float:
    """Return the searches a second in an answer."""
    return len(answer["milliseconds"]) / float(answer["seconds"])


def measure_images(rounds: Rounds, sides: Sides, kind: str, seconds: float, clients: int) -> None:
    """Measure searches by an image in JSON on all sides. kind: "json" or "large"."""
    name, bound = f"{kind} {clients}", sides.bounds[kind]
    before = bound.rate(seconds / 2)
    plain = sides.measured(sides.plain, kind, seconds, clients)
    with sides.stages.of(name):
        similis, cpu = sides.cpu(kind, seconds, clients)
    rounds.add(f"{name} bound", statistics.mean((before, bound.rate(seconds / 2))))
    for side, answer in (("plain", plain), ("similis", similis)):
        rounds.add(f"{name} {side}", rate(answer))
        for share in (50, 99):
            rounds.add(f"{name} {side} p{share}", quantile(answer["milliseconds"], share / 100))
    rounds.add(f"{name} client cpu", 1000 * float(similis["cpu_seconds"]) / len(similis["milliseconds"]))
    for role, taken in cpu.items():
        rounds.add(f"{name} {role} cpu", taken)
    rounds.add(f"{name} cpu", sum(cpu.values()))


def measure_others(rounds: Rounds, sides: Sides, seconds: float) -> None:
    """Measure other ways to ask: the file itself as the body, and the id of an indexed image."""
    for kind in ("raw", "id"):
        for clients in OTHER_CLIENTS:
            name = f"{kind} {clients}"
            rounds.add(f"{name} plain", rate(sides.measured(sides.plain, kind, seconds, clients)))
            similis, cpu = sides.cpu(kind, seconds, clients)
            rounds.add(f"{name} similis", rate(similis))
            rounds.add(f"{name} similis p50", quantile(similis["milliseconds"], 0.5))
            rounds.add(f"{name} similis p99", quantile(similis["milliseconds"], 0.99))
            rounds.add(f"{name} cpu", sum(cpu.values()))


def measure_collections(rounds: Rounds, sides: Sides, seconds: float) -> None:
    """Compare one search over many collections, and searches of many at a time, with those of a single one."""
    one = sides.measured(sides.similis, "across_one", seconds, 1)
    many, cpu = sides.cpu("across_all", seconds, 1)
    for name, answer in (("one", one), ("all", many)):
        rounds.add(f"across {name} p50", quantile(answer["milliseconds"], 0.5))
    rounds.add("across all cpu", sum(cpu.values()))
    for clients in TOGETHER_CLIENTS:
        for kind in ("together_one", "together_all"):
            answer = sides.measured(sides.similis, kind, seconds, clients)
            rounds.add(f"{kind} {clients}", rate(answer))
            rounds.add(f"{kind} {clients} p99", quantile(answer["milliseconds"], 0.99))


def figures(rounds: Rounds, clients: Sequence[int], *, every_kind: bool) -> list[Figure]:
    """Return the figures of all rounds, each beside its bound, the plain alternative or one collection."""
    found = [one for number in clients for one in _image_figures(rounds, "json", "", number)]
    if every_kind:
        found += [one for number in LARGE_CLIENTS for one in _image_figures(rounds, "large", "3 MP, ", number)]
        for kind, label in (("raw", "the file as body"), ("id", "by id")):
            for number in OTHER_CLIENTS:
                name, what = f"{kind} {number}", f"{label}, {_clients(number)}"
                found.append(_beside(rounds, f"searches, {what}", f"{name} similis", "plain", f"{name} plain"))
                bar = at_most(5.0) if name == "id 1" else None
                found.append(figure(f"p50, {what}", rounds.values[f"{name} similis p50"], "ms", bar=bar))
                found.append(figure(f"CPU, {what}", rounds.values[f"{name} cpu"], "ms"))
        found += _collection_figures(rounds)
    return found


def _image_figures(rounds: Rounds, kind: str, label: str, clients: int) -> Iterator[Figure]:
    name, what, busy = f"{kind} {clients}", f"{label}{_clients(clients)}", clients > 1 and kind == "json"
    similis = f"{name} similis"
    yield _beside(rounds, f"searches, {what}", similis, "bound", f"{name} bound", VS_BOUND if busy else None)
    yield _beside(rounds, f"searches, {what}", similis, "plain", f"{name} plain", VS_PLAIN if busy else None)
    p50, plain = rounds.values[f"{similis} p50"], rounds.values[f"{name} plain p50"]
    yield compared(f"p50, {what}", p50, "ms", "plain", plain)
    if clients == 1:
        over = [mine - other for mine, other in zip(p50, plain, strict=True)]
        yield figure(f"p50 over plain, {what}", over, "ms", bar=at_most(2.0) if kind == "json" else None)
    limit = P99_OVER_P50 if clients in (4, 16) and kind == "json" else None
    yield compared(f"p99, {what}", rounds.values[f"{similis} p99"], "ms", "p50", p50, limit)
    yield figure(f"CPU, {what}", rounds.values[f"{name} cpu"], "ms")


def _collection_figures(rounds: Rounds) -> Iterator[Figure]:
    yield _beside(
        rounds,
        f"p50, over {SMALL_COLLECTIONS} collections, 1 client",
        "across all p50",
        "one collection",
        "across one p50",
        at_most(3.0, of_reference=True),
        unit="ms",
    )
    yield figure(f"CPU, over {SMALL_COLLECTIONS} collections", rounds.values["across all cpu"], "ms")
    for number in TOGETHER_CLIENTS:
        what = f"{TOGETHER} collections at once, {_clients(number)}"
        one, every = f"together_one {number}", f"together_all {number}"
        yield _beside(rounds, f"searches, {what}", every, "one collection", one)
        yield _beside(rounds, f"p99, {what}", f"{every} p99", "one collection", f"{one} p99", unit="ms")


def _beside(
    rounds: Rounds, name: str, mine: str, reference: str, other: str, bar: Bar | None = None, unit: str = "/s"
) -> Figure:
    return compared(name, rounds.values[mine], unit, reference, rounds.values[other], bar)


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"


def chart(rounds: Rounds, clients: Sequence[int]) -> Chart:
    """Return a picture of the rates and of the slowest searches."""
    names = {"Similis": "similis", "plain alternative": "plain", "bound": "bound"}
    rates = {label: [rounds.median(f"json {number} {side}") for number in clients] for label, side in names.items()}
    latencies = {
        label: [rounds.median(f"json {number} {names[label]} p99") for number in clients]
        for label in ("Similis", "plain alternative")
    }
    categories = [str(number) for number in clients]
    return Chart(
        "Searches a second and latencies",
        [
            Panel("searches a second, by the number of clients", categories, rates),
            Panel("99th percentile in ms, by the number of clients", categories, latencies),
        ],
    )


def save_kinds(
    folder: Path, images: Mapping[str, Sequence[bytes]], large: Filled, small: Sequence[Filled], host: str
) -> dict[str, Path]:
    """Write the requests of each kind to a file, and return the files. images: "json" and "large"."""
    usual, collection = images["json"], large.collection
    asked = large.ids[:: max(1, len(large.ids) // IDS)]
    some = [filled.collection for filled in small]
    kinds = {
        "json": [by_image(host, collection, image) for image in usual],
        "large": [by_image(host, collection, image) for image in images["large"]],
        "raw": [by_file(host, collection, image) for image in usual],
        "id": [by_id(host, collection, each) for each in asked],
        "across_one": [across(host, some[:1], image) for image in usual],
        "across_all": [across(host, some, image) for image in usual],
        "together_one": in_turns(host, some[:1], usual),
        "together_all": in_turns(host, some[:TOGETHER], usual),
    }
    files = {kind: folder / f"{kind}.requests" for kind in kinds}
    for kind, requests in kinds.items():
        save_requests(files[kind], requests)
    return files


@contextmanager
def started(options: Options, data: Path, scratch: Path, say: Progress) -> Iterator[Sides]:
    """Run all sides while entered, with filled collections."""
    folder = str(options.queries or "")
    images = {"json": sample_images(folder, SIZE), "large": sample_images(folder, LARGE_SIZE, LARGE_IMAGES)}
    with ExitStack() as stack:
        say("start")
        address = stack.enter_context(similis(data))
        client = admin_client(address, data)
        say(f"fill a collection of {options.rows:,} images, and {SMALL_COLLECTIONS} of {SMALL_ROWS}")
        sizes = {"large": options.rows} | {f"small-{n}": SMALL_ROWS for n in range(SMALL_COLLECTIONS)}
        filled = asyncio.run(filled_collections(data, client, images["json"], sizes, say.rows_written))
        check_answers(client, filled["large"], images["json"])
        vectors = scratch / "vectors.npz"
        asyncio.run(save_vectors(data, images["json"], filled["large"], vectors, max(sizes.values())))
        source, model = converted(data / "models")
        plain = PlainProcess(source, model, str(vectors))
        stack.callback(plain.close)
        bounds = {
            kind: stack.enter_context(running_bound(saved_images(scratch / kind, some), data / "models"))
            for kind, some in images.items()
            if kind == "json" or options.every_kind
        }
        load = MeasuringProcess("search.http_load")
        stack.callback(load.close)
        parts = urlsplit(address)
        small = [found for name, found in filled.items() if name != "large"]
        requests = save_kinds(scratch, images, filled["large"], small, parts.netloc)
        where = (parts.hostname or "", parts.port or 80)
        process, stages = running_instance(), StageTimes(address)
        yield Sides(where, ("127.0.0.1", plain.port), load, bounds, requests, process, stages)


def saved_images(folder: Path, images: Sequence[bytes]) -> Path:
    """Write images to a new folder, and return it."""
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number:04}.jpg").write_bytes(image)
    return folder


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


def measure(options: Options, say: Progress) -> Measured:
    """Run all rounds."""
    rounds, clients = Rounds(), options.clients
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = options.data.resolve() / "searches" if options.data else scratch / "data"
        with started(options, data, scratch, say) as sides:
            sides.measured(sides.plain, "json", WARM_SECONDS, 4)
            # The gateway holds the vectors of a small collection from its fourth search on.
            for kind in sides.requests if options.every_kind else ("json",):
                sides.measured(sides.similis, kind, WARM_SECONDS, 4)
            for number in range(options.rounds):
                say(f"round {number + 1} of {options.rounds}")
                for count in clients:
                    measure_images(rounds, sides, "json", options.seconds, count)
                if options.every_kind:
                    for count in LARGE_CLIENTS:
                        measure_images(rounds, sides, "large", options.seconds, count)
                    measure_others(rounds, sides, options.seconds)
                    measure_collections(rounds, sides, options.seconds)
    return Measured(
        figures(rounds, clients, every_kind=options.every_kind),
        {"searches": chart(rounds, clients)},
        {"rows": options.rows, "rounds": rounds.values, "stages_ms": sides.stages.means()},
    )
