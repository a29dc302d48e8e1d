"""`make demo`."""

import argparse
import csv
import io
import signal
import sys
import time
from collections.abc import Sequence
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
FINETUNE_SECONDS = 240.0
COPY_SCORE = 0.99

console = Console()


class Wrong(Exception):
    """The demo ran, and an answer was not what it has to be."""


@dataclass(frozen=True)
class Query:
    """A search of the demo. `finds` is the repository URL that must come first; None: nothing may score like a copy."""

    title: str
    image: bytes
    finds: str | None
    is_copy: bool = False


def main(arguments: Sequence[str]) -> int:
    """Runs the demo; 0 if every step and every answer was right."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=…", description="Free photographs, from nothing to answered searches."
    )
    parser.add_argument("--exit", action="store_true", help="end after the searches instead of staying up")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="data directory (default: ./demo-data)")
    parser.add_argument("--port", type=int, default=0, help="port of the API (default: a free one)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    views = photographs.collection()
    try:
        with (
            image_server({view.name: view.jpeg for view in views}) as images,
            instance(options.data, options.port) as address,
        ):
            client = RestClient(address, (options.data / "admin-key").read_text(encoding="ascii").strip())
            collection = _filled(client, views, images)
            _finetune(client, collection)
            _search(client, collection, views)
            if not options.exit:
                _stay(address, options.data, collection)
    except (NotStarted, Refused, Wrong, OSError) as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
    return 0


def _filled(client: RestClient, views: Sequence[photographs.View], images: str) -> int:
    rows = io.StringIO()
    csv.writer(rows).writerows((f"{images}{view.name}", view.repo_url) for view in views)
    collection = client.find(NAME)
    if collection is None:
        collection = client.create(NAME)
    count = client.upload(collection, rows.getvalue())
    if count != len(views):
        raise Wrong(f"{len(views)} rows were uploaded, and {count} are there")
    objects = len({view.repo_url for view in views})
    console.print(f"Collection {collection}, {NAME!r}: {count} photographs of {objects} objects.")
    return collection


def _finetune(client: RestClient, collection: int) -> None:
    console.print(client.finetune(collection))
    if not client.info(collection)["requires_finetuning"]:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + FINETUNE_SECONDS
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("finetune", total=100.0)
        while True:
            info = client.info(collection)
            if info["finetuning_progess"] is None:
                break
            bar.update(task, completed=info["finetuning_progess"])
            if time.monotonic() > deadline:
                raise Wrong(f"the finetune takes longer than {FINETUNE_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        if info["requires_finetuning"] or info["finetuning_state"] != "done":
            raise Wrong(f"the finetune ended as {info['finetuning_state']}: {info['finetuning_error']}")
        bar.update(task, completed=100.0)


def _search(client: RestClient, collection: int, views: Sequence[photographs.View]) -> None:
    copy = next(view for view in views if view.name == "coffee-whole.jpg")
    queries = (
        Query("An exact copy of coffee-whole.jpg", copy.jpeg, copy.repo_url, is_copy=True),
        Query("A turned, blurred crop of chelsea", photographs.distorted(), photographs.repo_url("chelsea")),
        Query("Rocket, which is not in the collection", photographs.held_out(), None),
    )
    problems = []
    for query in queries:
        started = time.perf_counter()
        results = client.search(collection, query.image, num_results=3)
        milliseconds = 1000 * (time.perf_counter() - started)
        problems += _problems(query, results)
        title = f"{query.title}: {milliseconds:.0f} ms"
        table = Table("Score", "Found", "Entry in the repository", title=title, title_justify="left", min_width=78)
        for result in results:
            found = result["image_url"].rpartition("/")[2]
            table.add_row(f"{result['score']:.4f}", found, result["repo_url"])
        console.print(table)
    if problems:
        raise Wrong("; ".join(problems))


def _problems(query: Query, results: Sequence[dict[str, object]]) -> list[str]:
    if not results:
        return [f"{query.title}: nothing was found"]
    score = float(str(results[0]["score"]))
    if query.finds is None:
        return [f"{query.title}: scores {score:.4f}, like a copy"] if score >= COPY_SCORE else []
    if results[0]["repo_url"] != query.finds:
        return [f"{query.title}: found {results[0]['repo_url']} first"]
    if query.is_copy and score < COPY_SCORE:
        return [f"{query.title}: scores {score:.4f} only"]
    return []


def _stay(address: str, data: Path, collection: int) -> None:
    console.print(
        f"\nThe API is at {address}, its key in {data / 'admin-key'}. Try:\n"
        f"  curl -s {address}/api/collection/list\n"
        f"  base64 -w0 photo.jpg | curl -s -H 'Content-Type: text/plain' --data-binary @- \\\n"
        f"      {address}/api/collection/{collection}/search\n"
        "Ctrl-C stops it.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
