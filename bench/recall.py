"""Whether everything that is indexed is found: recall@10 against exact search on hard sets, search time, and memory.

    python bench/recall.py [--sets NAME ...] [--data FOLDER] [--qdrant HOST:PORT] [--scale 1.0] [--dim 256]

  distinct      60,000 different vectors
  1000x20       1,000 vectors, each in 20 rows
  200x60        200 vectors, each in 60 rows
  2000x60       2,000 vectors, each in 60 rows
  placeholder   60,000 different vectors, and one in 20,000 rows
  near          10,000 groups of 10 near copies, at a cosine similarity of 0.9998
  crops         10 crops of each photograph in FOLDER and of its mirror image; needs --data

Each set is indexed twice: in `points` as a finetune does, with one point for each distinct vector, and in `rows` with
one point for each row under the row's id, as it was done before. Rows of a group follow each other. Each search asks
for an indexed vector, with the catalog's classes: a query to Qdrant, then the rows from Postgres. A result is right if
its exact score reaches the tenth best one. A vector is lost if no result has its score. Searches in the two indexes
take turns in `--rounds` rounds; the ratio of their median times is the median over the rounds, with the range.

Without --qdrant, each index has a one-machine Qdrant of its own, whose anonymous memory is shown. A real server's
memory cannot be seen from outside. The exit status is 1 if recall@10 in `points` is below 0.99 for any set.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from bench.parts.hard_sets import HardSet, synthetic_sets
from bench.parts.views.photograph_crops import photograph_crops
from catalog.images import Image
from catalog.indexed_images import IndexedImages
from catalog.indexes import Index
from catalog.jobs import Job
from catalog.vectors.projection import Matrix, Projection
from tests.integration.databases import new_database
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import QdrantProcess, running_qdrant
from tests.integration.workplace import Workplace, open_workplace
from trainer.index.base_vectors import PAGE_SIZE, VectorPage, revision_pages
from trainer.index.build import IndexBuilder
from trainer.jobs.retry import Retry

NEIGHBOURS = 10
MIN_RECALL = 0.99
# Float32 rounding of a score.
ROUNDING = 2e-6
BACKBONE = "0" * 64
URL = "https://images.example.org/{number}"
CROPS = "crops"
ROWS, POINTS = "rows", "points"
INDEXES = (ROWS, POINTS)
HEADINGS = ("set", "index", "rows", "points", "seconds", "recall@10", "lost", "ms", "MB", "   time ratio (range)")
Vector = npt.NDArray[np.float32]
# By index.
Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Rows:
    """The rows of a set, which have consecutive image ids, as pages of an index builder."""

    images: list[Image]
    vectors: Matrix

    async def pages(self) -> AsyncGenerator[VectorPage, None]:
        """Yield all of them."""
        for start in range(0, len(self.images), PAGE_SIZE):
            images = self.images[start : start + PAGE_SIZE]
            yield VectorPage(images, self.vectors[start : start + PAGE_SIZE], len(images))


@dataclass(frozen=True)
class Searchable:
    """An index of a set. distinct: one point for each distinct vector, or else for each row.

    server: its one-machine Qdrant, if it has one.
    """

    place: Workplace
    index: Index
    distinct: bool
    server: QdrantProcess | None

    async def write(self, rows: Rows) -> None:
        """Write all vectors, and wait until they are indexed."""
        dim = rows.vectors.shape[1]
        if self.distinct:
            with ThreadPoolExecutor(1) as executor:
                images = IndexedImages(self.place.database)
                builder = IndexBuilder(self.place.generations, images, Retry(60.0), executor)
                await builder.run(self.index, rows, Projection(np.eye(dim, dtype=np.float32)), lambda _: None)
            return
        name = self.index.qdrant_collection
        await self.place.generations.create(name, dim)
        async for page in rows.pages():
            await self.place.client.put_points(name, [image.id for image in page.images], page.vectors)
        await self.place.generations.wait_until_indexed(name, len(rows.images))

    async def search(self, vector: Vector) -> list[int]:
        """Return the ids of the images nearest to a vector, best first."""
        hits = await self.place.generations.query(self.index.qdrant_collection, vector, NEIGHBOURS, None)
        found = [hit.image_id for hit in hits]
        if self.distinct:
            rows = await IndexedImages(self.place.database).of_points(self.index, found, NEIGHBOURS)
            return [row.image.id for row in rows]
        images = await self.place.images.by_id(self.index.collection_id, self.index.revision, found)
        return [identifier for identifier in found if identifier in images]

    async def settled(self) -> None:
        """Wait until a one-machine Qdrant has moved the index to a reader."""
        while self.server is not None and self.server.engine_ids("writer"):  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.1)

    async def points(self) -> int:
        """Return the number of points."""
        return await self.place.client.count_points(self.index.qdrant_collection)

    def memory(self) -> float | None:
        """Return the anonymous memory (MB) of the one-machine Qdrant, with its engine processes."""
        if self.server is None:
            return None
        server = psutil.Process(self.server.process.pid)
        return sum(map(anonymous_memory, (server, *server.children(recursive=True))))


def anonymous_memory(process: psutil.Process) -> float:
    """Return a process's memory in MB without files, whose pages the system can take back."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = next(line.split()[1] for line in text.splitlines() if line.startswith("Anonymous:"))
    return int(kilobytes) * 1024 / 1e6


@dataclass(frozen=True)
class Exact:
    """The exact answers to queries. queries: rows [q] that are asked for. tenth: the NEIGHBOURS-th best score [q]."""

    vectors: Matrix
    queries: np.ndarray
    tenth: np.ndarray

    @classmethod
    def of(cls, hard_set: HardSet, count: int) -> "Exact":
        """Search all vectors for up to `count` of them."""
        queries = hard_set.queries(count)
        scores = hard_set.vectors[queries] @ hard_set.vectors.T
        return cls(hard_set.vectors, queries, np.partition(scores, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS])

    def judge(self, query: int, found: list[int]) -> tuple[float, bool]:
        """Return the recall of found rows, 0 to 1, and whether the vector that was asked for is lost."""
        scores = self.vectors[found] @ self.vectors[self.queries[query]]
        recall = float((scores >= self.tenth[query] - ROUNDING).sum()) / NEIGHBOURS
        return recall, not (scores >= 1 - ROUNDING).any()


async def stored(place: Workplace, vectors: Matrix) -> tuple[Rows, Job]:
    """Store a row for each vector in a new collection, and claim a job for it."""
    collection = await place.collections.create("hard")
    rows = [(URL.format(number=number), f"entry-{number}") for number in range(len(vectors))]
    await place.contents.replace(collection, place.staged(rows))
    await place.finetune(collection)
    job = await place.jobs.claim("bench")
    if job is None:
        raise RuntimeError("another worker claimed the job")
    pages = [page async for page in revision_pages(place.images, job, PAGE_SIZE)]
    return Rows([image for page in pages for image in page], vectors), job


@asynccontextmanager
async def places(
    postgres: str, qdrant: str | None, folder: Path
) -> AsyncIterator[dict[str, tuple[Workplace, QdrantProcess | None]]]:
    """Open a workplace for each index while entered, in one database. qdrant: the address of a server for both."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(new_database(postgres))
        found: dict[str, tuple[Workplace, QdrantProcess | None]] = {}
        for name in INDEXES:
            address, server = qdrant, None
            if address is None:
                started = await stack.enter_async_context(running_qdrant(folder / name))
                address, server = f"{started.host}:{started.grpc_port}", started
            found[name] = await stack.enter_async_context(open_workplace(url, address, folder)), server
        yield found


async def timed_round(indexes: dict[str, Searchable], exact: Exact) -> dict[str, float]:
    """Search for every query in every index, in turns, and return the median milliseconds by index."""
    times: dict[str, list[float]] = {name: [] for name in indexes}
    for query, row in enumerate(exact.queries):
        # The one that goes first may warm a cache for the other.
        order = list(indexes) if query % 2 else list(reversed(indexes))
        for name in order:
            began = time.perf_counter()
            await indexes[name].search(exact.vectors[row])
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(taken) for name, taken in times.items()}


async def measure(hard_set: HardSet, postgres: str, folder: Path, options: argparse.Namespace) -> Figures:
    """Index a set in both ways, and return the figures by index."""
    exact = Exact.of(hard_set, options.queries)
    async with places(postgres, options.qdrant, folder) as opened:
        rows, job = await stored(opened[POINTS][0], hard_set.vectors)
        row_of = {image.id: row for row, image in enumerate(rows.images)}
        indexes: dict[str, Searchable] = {}
        figures: Figures = {}
        for name, (place, server) in opened.items():
            index = await place.indexes.begin(job, BACKBONE)
            indexes[name] = Searchable(place, index, name == POINTS, server)
            began = time.perf_counter()
            await indexes[name].write(rows)
            figures[name] = {"rows": len(row_of), "seconds": time.perf_counter() - began}
        for name, found in indexes.items():
            await found.settled()
            answers = [await found.search(exact.vectors[row]) for row in exact.queries]
            judged = [exact.judge(query, [row_of[each] for each in answer]) for query, answer in enumerate(answers)]
            recalls, lost = zip(*judged, strict=True)
            figures[name] |= {"recall": float(np.mean(recalls)), "lost": sum(lost), "queries": len(lost)}
            figures[name]["points"] = await found.points()
        rounds = [await timed_round(indexes, exact) for _ in range(options.rounds)]
        for name, found in indexes.items():
            figures[name] |= {"ms": statistics.median(each[name] for each in rounds), "memory_mb": found.memory()}
        ratios = sorted(each[POINTS] / each[ROWS] for each in rounds)
        figures[POINTS] |= {"time_ratio": statistics.median(ratios), "time_ratios": [ratios[0], ratios[-1]]}
        return figures


def table_line(*cells: object) -> str:
    """Return a line of the table."""
    return "".join(f"{cell:<13}" for cell in cells[:2]) + "".join(f"{cell:>11}" for cell in cells[2:])


def table_lines(name: str, figures: Figures) -> list[str]:
    """Return the lines of the table for a set."""
    lines = []
    for index, of in figures.items():
        memory = "-" if of["memory_mb"] is None else round(of["memory_mb"])
        cells = [of["rows"], of["points"], f"{of['seconds']:.1f}", f"{of['recall']:.4f}"]
        cells += [f"{of['lost']}/{of['queries']}", f"{of['ms']:.2f}", memory]
        lines.append(table_line(name, index, *cells))
    low, high = figures[POINTS]["time_ratios"]
    lines[-1] += f"   {figures[POINTS]['time_ratio']:.2f} ({low:.2f} to {high:.2f})"
    return lines


def chosen_sets(options: argparse.Namespace) -> dict[str, Callable[[], HardSet]]:
    """Return the makers of the sets that the options ask for."""
    makers = synthetic_sets(options.dim, options.scale)
    if options.data is not None:
        makers[CROPS] = lambda: photograph_crops(options.data, options.scale)
    names = options.sets or list(makers)
    if unknown := set(names) - set(makers):
        raise SystemExit(
            f"cannot measure {', '.join(sorted(unknown))}; there are {', '.join(makers)}, and with --data {CROPS}"
        )
    return {name: makers[name] for name in names}


async def measure_all(makers: dict[str, Callable[[], HardSet]], options: argparse.Namespace) -> dict[str, Figures]:
    """Measure one set after the other, and print the table meanwhile unless JSON is asked for."""
    found: dict[str, Figures] = {}
    # Postgres' socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="similis-bench-") as folder:
        async with running_postgres(Path(folder) / "data") as postgres:
            for name, make in makers.items():
                # It may run an event loop of its own.
                hard_set = await asyncio.to_thread(make)
                work = Path(folder) / name
                work.mkdir()
                found[name] = await measure(hard_set, postgres, work, options)
                if not options.json:
                    print("\n".join(table_lines(name, found[name])), flush=True)
    return found


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="photographs, for crops")
    parser.add_argument("--qdrant", metavar="HOST:PORT", help="the gRPC port of a Qdrant server")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the rows, for a quick run")
    parser.add_argument("--dim", type=int, default=256, help="of the vectors that are not crops")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    makers = chosen_sets(options)
    if not options.json:
        print(table_line(*HEADINGS))
    found = asyncio.run(measure_all(makers, options))
    if options.json:
        print(json.dumps(found, indent=2))
    raise SystemExit(any(figures[POINTS]["recall"] < MIN_RECALL for figures in found.values()))


if __name__ == "__main__":
    main()
