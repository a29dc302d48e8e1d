"""`list`, `status`, `import`, `export`, `rename` and `delete`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from similis_cli.commands.finetuning import finetune_and_report
from similis_cli.commands.sources import follow_reading, given_source
from similis_cli.options import AsJson, Collection, KeyFile, Url, Watch
from similis_cli.output import note, say, show_fields, show_json, show_json_list, show_table
from similis_cli.problems import Status, fail, prompting
from similis_cli.progress import duration, follow
from similis_cli.session import collection_id, session

if TYPE_CHECKING:
    from datetime import datetime

    from similis_client import CollectionInfo, IiifSource, OaiSource, SimilisSync

PARALLEL = 8
FOLDER = """\
{path} is a folder. Similis downloads images from URLs; it does not take files. To publish a folder:
  1. Serve it with a web server that the service can reach, such as that of your repository. To try it on one machine:
       python3 -m http.server 8000 --bind 127.0.0.1 --directory {path}
     and start the service with: similis up --allow-private-addresses
  2. Write a CSV with one image in a row, its URL and the URL of its entry in your repository:
       http://127.0.0.1:8000/coin-1.jpg,https://repository.example.org/coins/1
  3. Import the CSV:
       similis import images.csv --name {name}"""

SOURCE = "Source"
Iiif = Annotated[
    str | None,
    typer.Option(
        "--iiif",
        metavar="URL",
        help="Address of a IIIF manifest, or of a collection of manifests.",
        rich_help_panel=SOURCE,
    ),
]
Oai = Annotated[
    str | None, typer.Option("--oai", metavar="URL", help="Base URL of an OAI-PMH repository.", rich_help_panel=SOURCE)
]
Prefix = Annotated[
    str | None,
    typer.Option(
        "--prefix",
        metavar="PREFIX",
        help="Format of the records, such as lido, edm, mets or oai_dc.",
        rich_help_panel=SOURCE,
    ),
]
RecordSet = Annotated[
    str | None, typer.Option("--set", metavar="SET", help="Only the records of this set.", rich_help_panel=SOURCE)
]
Views = Annotated[
    str | None,
    typer.Option(
        "--views", metavar="none|manifest|record", help="Which images are views of one object.", rich_help_panel=SOURCE
    ),
]
Refresh = Annotated[
    str | None,
    typer.Option(
        "--refresh", metavar="daily|weekly", help="Read the source again automatically.", rich_help_panel=SOURCE
    ),
]
Then = Annotated[
    str | None,
    typer.Option(
        "--then", metavar="finetune", help="What follows when that has changed the content.", rich_help_panel=SOURCE
    ),
]


def list_collections(url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """List the collections and their state."""
    with session(url, key_file) as similis:
        infos = _infos(similis)
    if as_json:
        show_json_list(infos)
        return
    show_table(
        ("Id", "Name", ">Images", ">Indexed", ">Failed", "Changed", "State"),
        (
            (
                str(info.id),
                info.name,
                info.number_of_images,
                info.number_of_indexed_images,
                info.number_of_failures,
                _date(info.last_modified),
                _state(info),
            )
            for info in infos
        ),
        empty="There are no collections. 'similis import images.csv --name NAME' creates one.",
    )


def status(
    collection: Collection,
    watch: Watch = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a collection and its newest finetune."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        if watch:
            info = follow(similis.watch(identifier), as_json=as_json)
            if as_json:
                return
        else:
            info = similis.info(identifier)
    if as_json:
        show_json(info)
        return
    counts = info.finetuning_counts
    progress = None if info.finetuning_progess is None else f"{info.finetuning_progess:.0f} %"
    seconds = info.finetuning_seconds_left
    error = info.finetuning_error
    show_fields(
        (
            ("Id", str(info.id)),
            ("Name", info.name),
            ("HeidICON tag", info.heidicon_tag),
            ("Source", _source(info)),
            ("State", _state(info)),
            ("Progress", progress),
            ("Phase", info.finetuning_phase),
            ("Done", f"{counts.done} of {counts.total} images" if counts else None),
            ("Time left", None if seconds is None else duration(seconds)),
            ("Error", f"{error.message} ({error.code})" if error else None),
            *(("Slowed by", f"{pace.host} ({pace.reason})") for pace in info.finetuning_paced_by),
            *(("Warning", warning) for warning in info.finetuning_warnings),
            ("Images", info.number_of_images),
            ("Indexed", info.number_of_indexed_images),
            ("Failed", info.number_of_failures),
            ("Content changed", _time(info.last_modified)),
            ("Index published", _time(info.last_finetuned) if info.last_finetuned else "never"),
        )
    )


def import_content(
    file: Annotated[
        Path | None, typer.Argument(metavar="[CSV]", help="Two columns: image URL, URL of its entry.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Create a collection with this name.")] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", "-c", metavar="COLLECTION", help="Replace the content of this collection instead."
        ),
    ] = None,
    finetune: Annotated[bool, typer.Option("--finetune", "-f", help="Finetune it afterwards.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Finetune it and show the progress to the end.")] = False,
    iiif: Iiif = None,
    oai: Oai = None,
    prefix: Prefix = None,
    record_set: RecordSet = None,
    views: Views = None,
    refresh: Refresh = None,
    then: Then = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a collection from a CSV of image URLs, IIIF or OAI-PMH, or replace the content of one."""
    source = given_source(iiif, oai, prefix, record_set, views, refresh, then)
    if source is not None:
        if file is not None or collection is not None or name is None:
            fail("--iiif and --oai need --name, and neither a CSV nor --collection.", Status.USAGE)
        _import_source(name, source, url, key_file, follow=finetune or watch, watch=watch, as_json=as_json)
        return
    if file is None:
        fail("Give a CSV, --iiif URL or --oai URL.", Status.USAGE)
    _check_csv(file, name, collection)
    with session(url, key_file) as similis:
        _import_csv(similis, file, name, collection, finetune=finetune, watch=watch, as_json=as_json)


def export(
    collection: Collection,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write. Default: standard output.")
    ] = None,
    revision: Annotated[int | None, typer.Option("--revision", help="An earlier content, by its number.")] = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Download the CSV of a collection, as it was uploaded."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        if output is not None:
            similis.download(identifier, output, revision=revision)
            note(f"Written to {output}.")
            return
        sys.stdout.buffer.write(similis.csv(identifier, revision=revision))
        sys.stdout.buffer.flush()


def rename(
    collection: Collection,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Give a collection another name."""
    with session(url, key_file) as similis:
        say(similis.rename(collection_id(similis, collection), name).message)


def delete(
    collection: Collection,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Delete a collection with its content, images and indexes."""
    with session(url, key_file) as similis:
        info = similis.info(collection_id(similis, collection))
        if not yes:
            if not sys.stdin.isatty():
                fail("Without a terminal to ask on, 'similis delete' needs --yes. Nothing was deleted.", Status.USAGE)
            question = f"Delete collection {info.id}, {info.name!r}, with {_images(info.number_of_images)}?"
            with prompting():
                confirmed = typer.confirm(question, err=True)
            if not confirmed:
                fail("Nothing was deleted.")
        say(similis.delete(info.id).message)


def _check_csv(file: Path, name: str | None, collection: str | None) -> None:
    if file.is_dir():
        fail(FOLDER.format(path=file, name=name or "NAME"), Status.USAGE)
    if not file.is_file():
        fail(f"{file} is not a file. A CSV with image URLs is expected.", Status.USAGE)
    if (name is None) == (collection is None):
        fail("Give either --name, for a new collection, or --collection, to replace the content of one.", Status.USAGE)


def _import_csv(
    similis: SimilisSync,
    file: Path,
    name: str | None,
    collection: str | None,
    *,
    finetune: bool,
    watch: bool,
    as_json: bool,
) -> None:
    identifier = collection_id(similis, collection) if collection is not None else _create(similis, name or "")
    try:
        uploaded = similis.upload(identifier, file)
    except BaseException:
        if collection is None:
            # A collection without content is of no use, and the next attempt creates another one.
            similis.delete(identifier)
        raise
    for warning in uploaded.warnings:
        note(f"warning: {warning}")
    started = finetune or watch
    if as_json and not started:
        show_json({"id": identifier, "number_of_images": uploaded.number_of_images, "warnings": uploaded.warnings})
    elif not as_json:
        say(f"Collection {identifier} has {_images(uploaded.number_of_images)}.")
    if started:
        finetune_and_report(similis, identifier, watch=watch, as_json=as_json)
    elif not as_json:
        say(f"To make them searchable: similis finetune {identifier} --watch")


def _import_source(
    name: str,
    source: IiifSource | OaiSource,
    url: str | None,
    key_file: Path | None,
    *,
    follow: bool,
    watch: bool,
    as_json: bool,
) -> None:
    """Create a collection from a source. follow: wait until it is read, and finetune it then."""
    with session(url, key_file) as similis:
        identifier = _create(similis, name, source)
        if follow:
            follow_reading(similis, identifier)
            finetune_and_report(similis, identifier, watch=watch, as_json=as_json)
        elif as_json:
            show_json({"id": identifier})
        else:
            say(f"Collection {identifier} was created. The reading of its source has been queued.")
            say(f"To see how it goes: similis source show {identifier}")


def _create(similis: SimilisSync, name: str, source: IiifSource | OaiSource | None = None) -> int:
    existing = [collection.id for collection in similis.collections() if collection.name == name]
    if existing:
        fail(
            f"Collection {existing[0]} has the name {name!r} already. To replace its content, use "
            f"--collection {existing[0]} in place of --name."
        )
    created = similis.create(name, source=source)
    for warning in created.warnings:
        note(f"warning: {warning}")
    return created.id


def _infos(similis: SimilisSync) -> list[CollectionInfo]:
    from concurrent.futures import ThreadPoolExecutor

    from similis_client import CollectionNotFound

    def read(identifier: int) -> CollectionInfo | None:
        try:
            return similis.info(identifier)
        except CollectionNotFound:
            # It was deleted in the meantime.
            return None

    with ThreadPoolExecutor(PARALLEL) as executor:
        infos = executor.map(read, [collection.id for collection in similis.collections()])
        return [info for info in infos if info is not None]


def _images(number: int) -> str:
    return f"{number} image" if number == 1 else f"{number} images"


def _state(info: CollectionInfo) -> str:
    if info.is_finetuning:
        return "queued" if info.finetuning_state == "queued" else f"finetuning, {info.finetuning_progess or 0:.0f} %"
    if info.finetuning_state == "failed":
        return "finetune failed"
    if info.last_finetuned is None:
        return "not finetuned"
    if (info.quality or {}).get("provisional"):
        return "searchable, not finetuned"
    return "changed since its finetune" if info.requires_finetuning else "ready"


def _source(info: CollectionInfo) -> str | None:
    source = info.source
    if source is None or source.type in ("csv", "heidicon"):
        return None
    if source.is_being_read:
        return f"{source.url}, being read"
    if source.error:
        return f"{source.url}, reading failed: {source.error.message} ({source.error.code})"
    return f"{source.url}, read {_time(source.last_read)}" if source.last_read else f"{source.url}, not read yet"


def _date(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d")


def _time(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M")
