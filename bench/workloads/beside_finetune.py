"""How much searches in one collection slow down while another one is finetuned.

One client searches, with a pause after each search: before the finetune, during it, and after it. What is measured
during the finetune is compared with what is measured around it, because the machine may be slower at another time.
"""

import asyncio
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.parts.image_host import image_host
from bench.parts.image_maker import make_images
from bench.parts.instance.finetunes import ACTIVE, admin_client, create_filled, require_done
from bench.parts.instance.running import similis
from bench.parts.measuring_process import quantile
from bench.parts.report.chart import Chart, Panel
from bench.parts.report.figures import Figure, Reference, at_most, figure
from bench.parts.report.measured import Measured
from bench.parts.report.progress import Progress
from bench.parts.sample_images import sample_images
from bench.parts.search.filled_instance import filled_collections
from bench.workloads.options import Options
from bench.workloads.searches import SIZE, check_answers
from demo.rest_client import RestClient

PAUSE_SECONDS = 0.05
INFO_EVERY = 10
WARM_SEARCHES = 20
# Of each of the two measurements without a finetune, for each second of a measurement of `searches`.
IDLE_SEARCHES = 70
# A 99th percentile of fewer searches says nothing.
FEWEST_SEARCHES = 100
IDLE = "idle"


class Searcher:
    """Searches one collection by one image after the other."""

    def __init__(self, client: RestClient, collection: int, images: Sequence[bytes]) -> None:
        self._client = client
        self._collection = collection
        self._images = itertools.cycle(images)

    def milliseconds(self) -> float:
        """Search once, pause, and return the milliseconds that the search took."""
        began = time.perf_counter()
        self._client.search(self._collection, next(self._images), num_results=5)
        taken = 1000 * (time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
        return taken

    def several(self, number: int) -> list[float]:
        """Return the milliseconds of a number of searches."""
        return [self.milliseconds() for _ in range(number)]


def search_during(client: RestClient, finetuned: int, searcher: Searcher, say: Progress) -> dict[str, list[float]]:
    """Search until a finetune ends, and return the milliseconds by its phase. Raises SystemExit if it fails."""
    times: dict[str, list[float]] = defaultdict(list)
    while (info := client.info(finetuned))["finetuning_state"] in ACTIVE:
        times[str(info["finetuning_phase"])] += searcher.several(INFO_EVERY)
        say.finetuning(info)
    require_done(info)
    return times


def figures(times: Mapping[str, list[float]], rows: int) -> Iterator[Figure]:
    """Return the figures. times: milliseconds of searches, IDLE and by phase."""
    during = [taken for name, found in times.items() if name != IDLE for taken in found]
    for share in (50, 99):
        idle = quantile(times[IDLE], share / 100)
        reference = Reference(IDLE, idle)
        yield figure(f"p{share}, idle", idle, "ms")
        yield figure(
            f"p{share} while {rows:,} images are finetuned",
            quantile(during, share / 100),
            "ms",
            reference=reference,
            bar=at_most(1.5, of_reference=True) if share == 99 else None,
        )
        for phase, found in times.items():
            if phase != IDLE and len(found) >= FEWEST_SEARCHES:
                yield figure(f"p{share}, {phase}", quantile(found, share / 100), "ms", reference=reference)


def chart(times: Mapping[str, list[float]]) -> Chart:
    """Return a picture of the latencies without a finetune and in its phases."""
    shown = {name: found for name, found in times.items() if name == IDLE or len(found) >= FEWEST_SEARCHES}
    bars = {f"p{share}": [quantile(found, share / 100) for found in shown.values()] for share in (50, 99)}
    return Chart("Latency of searches during a finetune", [Panel("milliseconds of a search", list(shown), bars)])


def measure(options: Options, say: Progress) -> Measured:
    """Search one collection while another one is finetuned."""
    names = make_images(options.beside, options.photographs, options.made, say.now_and_then)
    images = sample_images(str(options.queries or ""), SIZE)
    idle_searches = max(FEWEST_SEARCHES, int(IDLE_SEARCHES * options.seconds))
    with (
        tempfile.TemporaryDirectory() as folder,
        similis(data := Path(folder)) as address,
        image_host(options.made) as host,
    ):
        client = admin_client(address, data)
        say(f"fill a collection of {options.rows:,} images")
        searched = asyncio.run(filled_collections(data, client, images, {"searched": options.rows}))["searched"]
        check_answers(client, searched, images)
        searcher = Searcher(client, searched.collection, images)
        searcher.several(WARM_SEARCHES)
        say("search without a finetune")
        times = {IDLE: searcher.several(idle_searches)}
        say(f"search while {options.beside:,} images are finetuned")
        finetuned = create_filled(client, "finetuned", [f"{host.address}{name}" for name in names])
        client.finetune(finetuned)
        times |= search_during(client, finetuned, searcher, say)
        say("search without a finetune again")
        times[IDLE] += searcher.several(idle_searches)
    return Measured(
        list(figures(times, options.beside)),
        {"beside-finetune": chart(times)},
        {"milliseconds": {name: [round(taken, 2) for taken in found] for name, found in times.items()}},
    )
