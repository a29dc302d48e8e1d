"""`make demo`."""

import argparse
import csv
import io
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo import photographs
from demo.image_server import image_server
from demo.instance import NotStarted, instance
from demo.rest_client import Refused, RestClient

NAME = "Demo photographs"
POLL_SECONDS = 0.2
# Long enough for a slow or busy machine.
FINETUNE_SECONDS = 600.0
COPY_SCORE = 0.99
TERMINATED = 143
# The demo reports its own progress. Of Similis' logs, it shows only warnings and errors.
QUIET = {"SIMILIS_LOG_LEVEL": "warning"}

console = Console(highlight=False)


class Wrong(Exception):
    """A step of the demo did not have the expected result."""


@dataclass(frozen=True)
class Query:
    """A search of the demo. `finds` is the repository URL that must come first, or None if nothing may look found."""

    title: str
    expected: str
    image: bytes
    finds: str | None
    is_copy: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run the demo. Return 0 if every step had the expected result."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=…",
        description="Start Similis, create a collection of free photographs, finetune it and search it.",
    )
    parser.add_argument(
        "--exit", action="store_true", help="stop after the searches instead of keeping Similis running"
    )
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="data directory (default: ./demo-data)")
    parser.add_argument("--port", type=int, default=0, help="port of the API (default: any free port)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        _run(options.data, options.port, stay=not options.exit)
    except (NotStarted, Refused, Wrong, OSError) as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 0


def _run(data: Path, port: int, *, stay: bool) -> None:
    views = photographs.collection()
    with image_server({view.name: view.jpeg for view in views}) as images, _started(data, port) as address:
        client = RestClient(address, (data / "admin-key").read_text(encoding="ascii").strip())
        collection = _create(client, views, images)
        _finetune(client, collection)
        _search(client, collection, views)
        console.print("\n[green]Everything worked.[/green]")
        if stay:
            _stay(address, data, collection)


@contextmanager
def _started(data: Path, port: int) -> Iterator[str]:
    """Run Similis while entered, and yield its address."""
    _step(1, f"Start Similis with its databases. All data is kept in {data}.")
    started = time.monotonic()
    with instance(data, port, defaults=QUIET) as address:
        console.print(f"Ready at {address} after {time.monotonic() - started:.0f} s.")
        yield address


def _step(number: int, text: str) -> None:
    console.print(f"\n[bold]{number}. {text}[/bold]")


def _create(client: RestClient, views: Sequence[photographs.View], images: str) -> int:
    _step(2, "Create a collection: a CSV with the URL of each image and of its entry in a repository.")
    rows = io.StringIO()
    csv.writer(rows).writerows((f"{images}{view.name}", view.repo_url) for view in views)
    collection = client.find(NAME)
    if collection is None:
        collection = client.create(NAME)
    count = client.upload(collection, rows.getvalue())
    if count != len(views):
        raise Wrong(f"{len(views)} rows were uploaded, but the collection has {count}")
    objects = len({view.repo_url for view in views})
    console.print(f"Collection {collection}, {NAME!r}, has {count} photographs of {objects} objects.")
    return collection


def _finetune(client: RestClient, collection: int) -> None:
    _step(3, "Finetune it: download and index the images, and learn what sets them apart.")
    console.print(client.finetune(collection))
    if not client.info(collection)["requires_finetuning"]:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + FINETUNE_SECONDS
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Finetune", total=100.0)
        while True:
            info = client.info(collection)
            if info["finetuning_progess"] is None:
                break
            bar.update(task, completed=info["finetuning_progess"])
            if time.monotonic() > deadline:
                raise Wrong(f"the finetune did not finish within {FINETUNE_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        if info["requires_finetuning"] or info["finetuning_state"] != "done":
            raise Wrong(f"the finetune ended in state {info['finetuning_state']!r}: {info['finetuning_error']}")
        bar.update(task, completed=100.0)


def _search(client: RestClient, collection: int, views: Sequence[photographs.View]) -> None:
    _step(4, "Search it with three images. A score of 1 means the same image.")
    copy = next(view for view in views if view.name == "coffee-whole.jpg")
    queries = (
        Query(
            "An exact copy of coffee-whole.jpg",
            "must come first, with a score of almost 1",
            copy.jpeg,
            copy.repo_url,
            is_copy=True,
        ),
        Query(
            "A rotated and blurred part of the cat 'chelsea'",
            "must come first",
            photographs.distorted(),
            photographs.repo_url("chelsea"),
        ),
        Query("A rocket that is not in the collection", "must not score like a copy", photographs.held_out(), None),
    )
    problems = []
    for query in queries:
        started = time.perf_counter()
        results = client.search(collection, query.image, num_results=3)
        milliseconds = 1000 * (time.perf_counter() - started)
        problems += _problems(query, results)
        title = f"\n{query.title}: {query.expected} ({milliseconds:.0f} ms)"
        table = Table("Score", "Image", "Entry in the repository", title=title, title_justify="left", min_width=78)
        for result in results:
            name = result["image_url"].rpartition("/")[2]
            table.add_row(f"{result['score']:.4f}", name, result["repo_url"])
        console.print(table)
    if problems:
        raise Wrong("; ".join(problems))


def _problems(query: Query, results: Sequence[dict[str, object]]) -> list[str]:
    if not results:
        return [f"{query.title}: no results"]
    score = float(str(results[0]["score"]))
    if query.finds is None:
        return [f"{query.title}: the score {score:.4f} is as high as that of a copy"] if score >= COPY_SCORE else []
    if results[0]["repo_url"] != query.finds:
        return [f"{query.title}: {results[0]['repo_url']} came first"]
    if query.is_copy and score < COPY_SCORE:
        return [f"{query.title}: the score is only {score:.4f}"]
    return []


def _stay(address: str, data: Path, collection: int) -> None:
    console.print(
        "\nSimilis keeps running until you press Ctrl-C. Try it with your own image:\n"
        f"  curl -s {address}/api/collection/list\n"
        f"  base64 -w0 photo.jpg | curl -s -H 'Content-Type: text/plain' --data-binary @- \\\n"
        f"      {address}/api/collection/{collection}/search\n"
        f"Requests that change anything need the header 'API-Key'. The key is in {data / 'admin-key'}.",
        markup=False,
        soft_wrap=True,
    )
    signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
