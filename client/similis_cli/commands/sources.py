"""`source show`, `read`, `cancel` and `schedule`, and the import from a source."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from similis_cli.options import AsJson, Collection, KeyFile, Url
from similis_cli.output import note, say, show_fields, show_json, show_message
from similis_cli.problems import Status, fail
from similis_cli.session import collection_id, session

if TYPE_CHECKING:
    from datetime import datetime

    from similis_client import IiifSource, OaiSource, SimilisSync, Source

INTERVAL_SECONDS = 1.0
NEVER = "never"
PHASES = {
    "queued": "Waiting for a trainer",
    "listing": "Listing manifests",
    "reading": "Reading the source",
    "storing": "Storing the content",
}

ShowProgress = Annotated[bool, typer.Option("--watch", "-w", help="Show the progress of the reading until it ended.")]


def show(collection: Collection, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Show the source of a collection, and the records that brought no image."""
    with session(url, key_file) as similis:
        status = similis.source(collection_id(similis, collection))
    if as_json:
        show_json(status)
        return
    source, counts, error = status.source, status.source.counts, status.source.error
    show_fields(
        (
            ("Type", source.type),
            ("Address", source.url),
            ("Format", source.metadata_prefix),
            ("Set", source.set),
            ("State", source.state),
            ("Phase", source.phase),
            ("Done", f"{counts.done} of {counts.total or 'unknown'} records" if counts else None),
            ("Error", f"{error.message} ({error.code})" if error else None),
            *(("Slowed by", f"{pace.host} ({pace.reason})") for pace in source.paced_by),
            *(("Warning", warning) for warning in source.reading_warnings),
            ("Last read", _time(source.last_read) if source.last_read else "never"),
            ("Last changes", _changes(source)),
            ("Next reading", _time(source.next_reading) if source.next_reading else "on request"),
            ("Then", source.then),
            *(("Without image", f"{number} ({reason})") for reason, number in status.failure_counts.items()),
            *(("", f"{failure.record}: {failure.detail}") for failure in status.failures[:10]),
        )
    )


def read(
    collection: Collection,
    full: Annotated[bool, typer.Option("--full", help="Ask for everything, not only for what has changed.")] = False,
    watch: ShowProgress = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Read the source of a collection again."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        started = similis.read_source(identifier, full=full)
        if watch:
            follow_reading(similis, identifier)
        elif as_json:
            show_json(started)
        else:
            say(started.message)
            say(f"To see how it goes: similis source show {identifier}")


def cancel(collection: Collection, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Cancel the reading of a source. The content stays as it was."""
    with session(url, key_file) as similis:
        cancelled = similis.cancel_reading(collection_id(similis, collection))
    show_message(cancelled, as_json=as_json)


def schedule(
    collection: Collection,
    refresh: Annotated[str, typer.Argument(metavar="daily|weekly|never", help="How often to read it automatically.")],
    then: Annotated[
        str | None, typer.Option("--then", metavar="finetune", help="What to do when the content has changed.")
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Change when the source of a collection is read."""
    with session(url, key_file) as similis:
        identifier = collection_id(similis, collection)
        changed = similis.schedule_source(identifier, refresh=None if refresh == NEVER else refresh, then=then)
    show_message(changed, as_json=as_json)


def given_source(
    iiif: str | None,
    oai: str | None,
    prefix: str | None,
    record_set: str | None,
    views: str | None,
    refresh: str | None,
    then: str | None,
) -> IiifSource | OaiSource | None:
    """Return the source that the options of `import` name; None if they name none. Ends with wrong usage."""
    from similis_client import IiifSource, OaiSource

    if iiif is not None and oai is not None:
        fail("Give either --iiif or --oai.", Status.USAGE)
    if oai is None and (prefix is not None or record_set is not None):
        fail("--prefix and --set belong to --oai.", Status.USAGE)
    if oai is not None:
        if prefix is None:
            fail("--oai needs --prefix, the format of the records, such as lido.", Status.USAGE)
        return OaiSource(url=oai, metadata_prefix=prefix, set=record_set, views=views, refresh=refresh, then=then)
    if iiif is not None:
        return IiifSource(url=iiif, views=views, refresh=refresh, then=then)
    if views is not None or refresh is not None or then is not None:
        fail("--views, --refresh and --then belong to --iiif and --oai.", Status.USAGE)
    return None


def follow_reading(similis: SimilisSync, collection: int) -> None:
    """Show the progress of a reading on standard error until it has ended, and print what it did.

    Ends with status 1 if it failed or was cancelled.
    """
    phase = None
    while (source := similis.source(collection).source).is_being_read:
        if source.phase != phase:
            phase = source.phase
            note(PHASES.get(phase or "", phase or ""))
        time.sleep(INTERVAL_SECONDS)
    for warning in source.reading_warnings:
        note(f"warning: {warning}")
    if source.error is not None:
        fail(f"{source.error.message} ({source.error.code})")
    if source.state != "done":
        fail("The reading was cancelled. The content stays as it was.")
    say(f"The source was read: {_changes(source)}.")


def _changes(source: Source) -> str | None:
    if source.added is None:
        return None
    return f"{source.added} images added, {source.changed} changed, {source.removed} removed"


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
