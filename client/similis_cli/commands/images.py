"""`images list`, `images add` and `images remove`."""

from __future__ import annotations

import csv as csv_format
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from similis_cli.commands.finetuning import Limit
from similis_cli.options import AsJson, Collection, KeyFile, Url
from similis_cli.output import say, show_json, show_json_list, show_table
from similis_cli.problems import Status, fail
from similis_cli.session import collection_id, session

# The most images that the service takes in one request.
BATCH = 10_000


def list_images(
    collection: Collection,
    state: Annotated[
        str | None, typer.Option("--state", metavar="pending|indexed|failed", help="Only images in this state.")
    ] = None,
    entry: Annotated[str | None, typer.Option("--entry", metavar="URL", help="Only the images of this entry.")] = None,
    limit: Limit = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List the images of a collection."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        found = islice(similis.images(identifier, state=state, repo_url=entry), limit)
        if as_json:
            show_json_list(found)
            return
        show_table(
            (">Image", "State", "URL", "Entry", "Reason"),
            ((image.image_id, image.state, image.image_url, image.repo_url, image.reason) for image in found),
            empty="There are no such images.",
        )


def add_images(
    collection: Collection,
    image_url: Annotated[str | None, typer.Argument(metavar="IMAGE-URL", help="The URL of the image.")] = None,
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="The URL of its entry.", show_default=False)] = "",
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Add the rows of this file instead: image URL, entry. No header."),
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Add images to a collection. Search finds them after the next finetune."""
    from similis_client import NewImage

    if (image_url is None) == (csv is None):
        fail("Give the URL of an image, or --csv.", Status.USAGE)
    rows = [(image_url or "", entry)] if csv is None else _rows(csv)
    added: list[int] = []
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        for start in range(0, len(rows), BATCH):
            batch = [NewImage(image_url=image, repo_url=repo) for image, repo in rows[start : start + BATCH]]
            added += similis.add_images(identifier, batch)
    if as_json:
        show_json({"image_ids": added})
    elif len(added) == 1:
        say(f"Added image {added[0]}. To make it searchable: similis finetune {identifier}")
    else:
        say(f"Added {len(added)} images. To make them searchable: similis finetune {identifier}")


def remove_images(
    collection: Collection,
    images: Annotated[list[int], typer.Argument(metavar="IMAGE-ID...", help="Ids, as in 'similis images list'.")],
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove images from a collection. Search leaves them out after the next finetune."""
    with session(url, key_file) as similis:
        confirmed = similis.remove_images(collection_id(similis, collection), images)
    if as_json:
        show_json(confirmed)
    else:
        say(confirmed.message)


def _rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as reader:
        rows = [row for row in csv_format.reader(reader) if any(row)]
    for number, row in enumerate(rows, 1):
        if len(row) > 2 or not row[0].startswith(("http://", "https://")):
            fail(
                f"{file}, row {number}: an image URL and the URL of its entry are expected, with a comma between them."
            )
    return [(row[0], row[1] if len(row) == 2 else "") for row in rows]
