"""Indexing: images a second from the upload to the published index, and how much of that a small change costs.

For each size: a new collection, then one of whose rows 1 % changed, then one without a change whose finetune is forced.
A host on this machine serves the images. The bound is the embedder's decoder and engine alone, one process for each
core, on the same images, before and after. What an adapter is learned from does not belong to indexing and is counted
apart: the views of a sample, the fit, and the check.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.parts.bound import running_bound
from bench.parts.image_host import ImageHost, image_host
from bench.parts.image_maker import make_images
from bench.parts.instance.finetunes import PhaseLog, admin_client, csv_of, finetune
from bench.parts.instance.memory import watched_memory
from bench.parts.instance.running import similis
from bench.parts.report.chart import Chart, Panel
from bench.parts.report.figures import Figure, Reference, at_least, at_most, figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.workloads.options import Options
from demo.rest_client import RestClient

LEARNING = ("views", "fitting", "checking")
BOUND_SECONDS = 5.0
# The bars hold from this size on. A smaller collection takes mostly what does not depend on its size.
BAR_FROM = 10_000
CHANGED_SHARE = 0.01
POLL_SECONDS = 0.25


@dataclass
class Run:
    """One finetune. seconds: from before the upload. searchable: until the first index was published, or None.

    phases: seconds of each. peaks: MB of anonymous memory of all processes, by phase. images: in the collection.
    """

    images: int
    seconds: float = 0.0
    searchable: float | None = None
    phases: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    roles: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def indexing_seconds(self) -> float:
        """The seconds without those of learning."""
        return self.seconds - sum(self.phases.get(phase, 0.0) for phase in LEARNING)


@dataclass(frozen=True)
class Size:
    """What was measured of one size. bound: images a second. host_cpu: CPU seconds of the image host."""

    full: Run
    changed: Run
    unchanged: Run
    bound: float
    host_cpu: float


def finetuned(client: RestClient, collection: int, data: Path, content: str | None, images: int, say: Progress) -> Run:
    """Upload a content, finetune it, and return what that took. None: finetune without a change."""
    run, log, began = Run(images), PhaseLog(data), time.monotonic()
    before = client.info(collection)["last_finetuned"]
    with watched_memory("upload" if content else "queued") as watch:

        def look(info: Mapping[str, Any]) -> None:
            watch.step = info["finetuning_phase"] or watch.step
            if run.searchable is None and info["last_finetuned"] != before:
                run.searchable = time.monotonic() - began
            say.finetuning(info)

        if content:
            client.upload(collection, content)
        finetune(client, collection, force=content is None, poll_seconds=POLL_SECONDS, watch=look)
        run.seconds = time.monotonic() - began
    run.phases, run.peaks, run.roles = log.seconds(), watch.peaks, watch.roles
    return run


def measure_size(number: int, names: Sequence[str], host: ImageHost, folder: Path, say: Progress) -> Size:
    """Measure collections of `number` images. names: of these images, and of those that replace some of them."""
    with tempfile.TemporaryDirectory() as kept, ExitStack() as stack:
        data = Path(kept)
        client = admin_client(stack.enter_context(similis(data)), data)
        bound = stack.enter_context(running_bound(folder, data / "models"))
        before = bound.rate(BOUND_SECONDS)
        collection = client.create("images")
        urls = [f"{host.address}{name}" for name in names]
        say(f"{number:,} new images")
        cpu = host.cpu_seconds()
        full = finetuned(client, collection, data, csv_of(urls[:number]), number, say)
        cpu = host.cpu_seconds() - cpu
        rate = statistics.mean((before, bound.rate(BOUND_SECONDS)))
        say(f"{len(names) - number:,} of {number:,} images changed")
        changed = finetuned(client, collection, data, csv_of(replaced(urls, number)), number, say)
        say(f"none of {number:,} images changed")
        unchanged = finetuned(client, collection, data, None, number, say)
        if failures := client.number_of_failures(collection):
            raise SystemExit(f"{failures} images could not be indexed")
    return Size(full, changed, unchanged, rate, cpu)


def figures(size: Size) -> Iterator[Figure]:
    """Return the figures of one size."""
    full, number = size.full, size.full.images
    bound = Reference("bound", size.bound)
    has_bars = number >= BAR_FROM
    yield figure(
        f"{number:,} images, indexed",
        number / full.indexing_seconds,
        "/s",
        reference=bound,
        bar=at_least(0.85, of_reference=True) if has_bars else None,
    )
    if full.searchable is not None:
        yield figure(f"{number:,} images, until searchable", number / full.searchable, "/s", reference=bound)
    yield figure(f"{number:,} images, with learning", number / full.seconds, "/s", reference=bound)
    yield figure(f"{number:,} images, with learning", full.seconds, "s")
    for phase, seconds in full.phases.items():
        yield figure(f"{number:,} images, {phase}", seconds, "s")
    all_of_it = Reference("all new", full.seconds)
    for name, run, limit in (("1 % changed", size.changed, 0.05), ("nothing changed", size.unchanged, 0.03)):
        bar = at_most(limit, of_reference=True) if has_bars else None
        yield figure(f"{number:,} images, {name}", run.seconds, "s", reference=all_of_it, bar=bar)
    for step, peak in full.peaks.items():
        yield figure(f"{number:,} images, peak memory, {step}", peak, "MB")
    yield figure(f"{number:,} images, CPU of the image host for each", 1000 * size.host_cpu / number, "ms")


def chart(sizes: Sequence[Size]) -> Chart:
    """Return a picture of the rates beside the bound, and of the seconds of each phase."""
    categories = [f"{size.full.images:,}" for size in sizes]
    rates = {
        "indexed": [size.full.images / size.full.indexing_seconds for size in sizes],
        "with learning": [size.full.images / size.full.seconds for size in sizes],
        "bound": [size.bound for size in sizes],
    }
    seconds = {
        "all new": [size.full.seconds for size in sizes],
        "1 % changed": [size.changed.seconds for size in sizes],
        "nothing changed": [size.unchanged.seconds for size in sizes],
    }
    return Chart(
        "Indexing",
        [
            Panel("images a second, by the size of a new collection", categories, rates),
            Panel("seconds of a finetune", categories, seconds),
        ],
    )


def measure(options: Options, say: Progress) -> Measured:
    """Measure all sizes, the smallest first."""
    largest = max(options.images)
    names = make_images(largest + changes(largest), options.photographs, options.made, say.now_and_then)
    with image_host(options.made) as host:
        sizes = [
            measure_size(number, names[: number + changes(number)], host, options.made, say)
            for number in sorted(options.images)
        ]
    return Measured(
        [one for size in sizes for one in figures(size)],
        {"indexing": chart(sizes)},
        {"sizes": [asdict(size) for size in sizes]},
    )


def replaced(urls: Sequence[str], number: int) -> list[str]:
    """Return the first `number` URLs, some of which, at equal distances, are replaced by the others."""
    kept, new = list(urls[:number]), urls[number:]
    for place, url in enumerate(new):
        kept[place * number // len(new)] = url
    return kept


def changes(number: int) -> int:
    """Return how many images are replaced in a collection of this size."""
    return max(1, round(CHANGED_SHARE * number))
