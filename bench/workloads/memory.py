"""The anonymous memory of all processes by the number of images, and what a search takes in a large collection.

The memory of a new instance is read when it is idle. Then two collections are filled, a usual one and a large one, with
vectors that lie as those of photographs do. The memory is read after each 100,000 rows, and, after a restart, when the
instance is idle again and when both were searched. Searches of both collections run in turns.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.parts.instance.finetunes import admin_client
from bench.parts.instance.memory import instance_memory, watched_memory
from bench.parts.instance.running import similis
from bench.parts.measuring_process import MeasuringProcess, quantile
from bench.parts.report.chart import Chart, Panel
from bench.parts.report.figures import Figure, at_most, compared, figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.parts.rounds import Rounds
from bench.parts.sample_images import sample_images
from bench.parts.search.filled_instance import Filled, filled_collections
from bench.parts.search.http_load import save_requests
from bench.parts.search.requests import by_id, by_image
from bench.workloads.options import Options
from bench.workloads.searches import IDS, SIZE, check_answers

USUAL_ROWS = 10_000
STEP = 100_000
# Until what a start or a fill has freed is given back.
SETTLE_SECONDS = 10.0
# Collections of more rows are searched with a graph, and need longer until the engine has read it.
WARM_SECONDS = 3.0
IDLE_MB, KILOBYTES_EACH = 900.0, 1.0
OVER_USUAL = at_most(3.0)


@dataclass
class Sizes:
    """Anonymous memory in MB, by role: new and idle; filled and idle after a restart; and after searches.

    filling: all processes by the number of rows. images: in all collections together. peaks: by step.
    """

    images: int
    new: dict[str, float] = field(default_factory=dict)
    filling: dict[int, float] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    searched: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    start_seconds: float = 0.0


def figures(sizes: Sizes, rounds: Rounds, rows: int) -> Iterator[Figure]:
    """Return the figures."""
    new, idle, searched = (sum(found.values()) for found in (sizes.new, sizes.idle, sizes.searched))
    images = sizes.images
    allowed = IDLE_MB + images * KILOBYTES_EACH / 1000
    if sizes.new:
        yield figure("new and idle", new, "MB", bar=at_most(IDLE_MB))
        yield figure(f"for each of {images:,} images, idle", 1000 * (idle - new) / images, "kB")
        yield figure(f"for each of {images:,} images, searched", 1000 * (searched - new) / images, "kB")
    yield figure(f"{images:,} images, idle", idle, "MB", bar=at_most(allowed))
    yield figure(f"{images:,} images, searched", searched, "MB", bar=at_most(allowed))
    for step, peak in sizes.peaks.items():
        yield figure(f"peak, {step}", peak, "MB")
    yield figure(f"start with {images:,} images, until ready", sizes.start_seconds, "s", bar=at_most(5.0))
    for kind, label in (("image", "by an image"), ("id", "by id")):
        large, usual = rounds.values[f"{kind} large"], rounds.values[f"{kind} usual"]
        yield compared(f"p50, {rows:,} images, {label}", large, "ms", f"{USUAL_ROWS:,} images", usual)
        over = [mine - other for mine, other in zip(large, usual, strict=True)]
        yield figure(f"p50, {rows:,} over {USUAL_ROWS:,} images, {label}", over, "ms", bar=OVER_USUAL)
        yield figure(f"p99, {rows:,} images, {label}", rounds.values[f"{kind} large p99"], "ms")


def chart(sizes: Sizes) -> Chart:
    """Return a picture of the memory by the number of images, and by process."""
    panels = []
    if sizes.filling:
        rows = [f"{number // 1000:,}k" for number in sizes.filling]
        panels.append(Panel("MB while rows are written", rows, {"all processes": list(sizes.filling.values())}))
    states = {"new": sizes.new, f"{sizes.images:,} images": sizes.idle, "searched": sizes.searched}
    states = {name: found for name, found in states.items() if found}
    by_state = {"all processes": [sum(found.values()) for found in states.values()]}
    panels.append(Panel("MB when idle", list(states), by_state))
    return Chart("Anonymous memory", panels)


def fill(data: Path, images: Sequence[bytes], rows: int, sizes: Sizes, say: Progress) -> dict[str, Filled]:
    """Start, read the memory of the new instance, fill the collections, and read it after each STEP rows."""

    def written(number: int) -> None:
        if number % STEP == 0:
            sizes.filling[number] = sum(instance_memory().values())
        say.rows_written(number)
        if number == rows:
            say(f"all {rows:,} images are written. Wait until they are indexed")

    with watched_memory("start") as watch, similis(data) as address:
        client = admin_client(address, data)
        if client.find(f"large-{rows}") is None:
            say("read the memory of a new instance")
            time.sleep(SETTLE_SECONDS)
            sizes.new = instance_memory()
        watch.step = "fill"
        say(f"fill collections of {USUAL_ROWS:,} and {rows:,} images")
        wanted = {"usual": USUAL_ROWS, "large": rows}
        filled = asyncio.run(filled_collections(data, client, images, wanted, written))
        for one in filled.values():
            check_answers(client, one, images)
    sizes.peaks |= watch.peaks
    return filled


def search(
    options: Options, data: Path, images: Sequence[bytes], filled: dict[str, Filled], sizes: Sizes, say: Progress
) -> Rounds:
    """Start again, read the memory, search both collections in turns, and read the memory again."""
    rounds, began = Rounds(), time.monotonic()
    with ExitStack() as stack:
        watch = stack.enter_context(watched_memory("start with images"))
        address = stack.enter_context(similis(data))
        sizes.start_seconds = time.monotonic() - began
        time.sleep(SETTLE_SECONDS)
        sizes.idle = instance_memory()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        load = MeasuringProcess("search.http_load")
        stack.callback(load.close)
        parts = urlsplit(address)
        where = {"host": parts.hostname, "port": parts.port, "clients": 1}
        files = save_searches(folder, parts.netloc, images, filled)
        watch.step = "searches"
        for name in files:
            load.ask(do="load", file=str(files[name]), seconds=WARM_SECONDS, **where)
        for number in range(options.rounds):
            say(f"search, round {number + 1} of {options.rounds}")
            for name, file in files.items():
                times = load.ask(do="load", file=str(file), seconds=options.seconds, **where)["milliseconds"]
                rounds.add(name, quantile(times, 0.5))
                rounds.add(f"{name} p99", quantile(times, 0.99))
        sizes.searched = instance_memory()
    sizes.peaks |= watch.peaks
    return rounds


def save_searches(folder: Path, host: str, images: Sequence[bytes], filled: dict[str, Filled]) -> dict[str, Path]:
    """Write the searches of both collections to files, and return the files by name."""
    files = {}
    for size, found in filled.items():
        asked = found.ids[:: max(1, len(found.ids) // IDS)]
        kinds = {
            "image": [by_image(host, found.collection, image) for image in images],
            "id": [by_id(host, found.collection, each) for each in asked],
        }
        for kind, requests in kinds.items():
            files[f"{kind} {size}"] = folder / f"{kind}-{size}.requests"
            save_requests(files[f"{kind} {size}"], requests)
    return files


def measure(options: Options, say: Progress) -> Measured:
    """Measure memory and searches of a large collection."""
    rows = options.memory_rows
    images = sample_images(str(options.queries or ""), SIZE)
    sizes = Sizes(rows + USUAL_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data.resolve() / "memory" if options.data else Path(folder)
        filled = fill(data, images, rows, sizes, say)
        say("start again")
        rounds = search(options, data, images, filled, sizes, say)
    return Measured(
        list(figures(sizes, rounds, rows)),
        {"memory": chart(sizes)},
        {"sizes": asdict(sizes), "rounds": rounds.values},
    )
