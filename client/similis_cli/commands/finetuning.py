"""`finetune`, `cancel`, `failures` and `duplicates`."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from similis_cli.options import AsJson, Collection, KeyFile, Url, Watch
from similis_cli.output import note, say, show_json, show_json_list, show_message, show_table
from similis_cli.progress import follow
from similis_cli.session import collection_id, session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from similis_client import DuplicateGroup, DuplicatePage, SimilisSync

Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Show at most so many. Default: all.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print a CSV with a header row.")]


def finetune(
    collection: Collection,
    watch: Watch = False,
    force: Annotated[bool, typer.Option("--force", help="Finetune even if nothing changed.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Also download every image again.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the newest content of a collection searchable."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        finetune_and_report(similis, identifier, watch=watch, as_json=as_json, force=force, refresh=refresh)


def finetune_and_report(
    similis: SimilisSync,
    identifier: int,
    *,
    watch: bool,
    as_json: bool,
    force: bool = False,
    refresh: bool = False,
) -> None:
    """Start a finetune, follow it if that was asked for, and print how it went."""
    run = similis.finetune(identifier, force=force, refresh=refresh)
    if not watch:
        if as_json:
            show_json({"id": identifier, "job_id": run.job_id, "message": run.message})
            return
        say(run.message)
        if run.job_id is not None:
            say(f"To follow it: similis status {identifier} --watch")
        return
    try:
        info = follow(run.watch(), as_json=as_json)
    except KeyboardInterrupt:
        note(f"The finetune goes on. To follow it: similis status {identifier} --watch")
        raise
    if as_json:
        return
    if run.job_id is None:
        say(run.message)
        return
    for warning in info.finetuning_warnings:
        note(f"warning: {warning}")
    say(f"Collection {info.id}, {info.name!r}, is ready: {info.number_of_indexed_images} images can be found.")
    if info.number_of_failures:
        say(f"{info.number_of_failures} could not be indexed. To see why: similis failures {info.id}")


def cancel(collection: Collection, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Cancel the finetune of a collection. Search goes on using the previous index."""
    with session(url, key_file) as similis:
        cancelled = similis.cancel_finetune(collection_id(similis, collection))
    show_message(cancelled, as_json=as_json)


def failures(
    collection: Collection,
    limit: Limit = None,
    as_csv: AsCsv = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List the images that could not be indexed, with the reason."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        if as_csv:
            _write(similis.failures_csv(identifier))
            return
        found = islice(similis.failures(identifier), limit)
        if as_json:
            show_json_list(found)
            return
        show_table(
            ("Image", "Entry", "Reason", "Detail"),
            ((failure.image_url, failure.repo_url, failure.reason, failure.detail) for failure in found),
            empty="Every image was indexed.",
        )


def duplicates(
    collection: Collection,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="identical|copy", help="Only files with the same bytes, or only other copies."),
    ] = None,
    limit: Limit = None,
    as_csv: AsCsv = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List groups of images that show the same picture."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        if as_csv:
            _write(similis.duplicates_csv(identifier, kind=kind))
            return
        groups = islice(_groups(similis.duplicate_pages(identifier, kind=kind)), limit)
        if as_json:
            show_json_list(groups)
            return
        show_table(
            (">Group", "Kind", ">Score", ">Image", "URL", "Entry"),
            _rows(groups),
            empty="No duplicates were found.",
        )


def _groups(pages: Iterator[DuplicatePage]) -> Iterator[DuplicateGroup]:
    for page in pages:
        # They say why no duplicates are known, which is not the same as none.
        for warning in page.warnings:
            note(f"warning: {warning}")
        yield from page.duplicates


def _rows(groups: Iterator[DuplicateGroup]) -> Iterator[tuple[str | int | float | None, ...]]:
    for group in groups:
        for image in group.images:
            yield group.group, group.kind, group.score, image.image_id, image.image_url, image.repo_url


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
