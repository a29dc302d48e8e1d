"""`search` and `similar`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from similis_cli.options import AsJson, KeyFile, Url
from similis_cli.output import note, show_json, show_table
from similis_cli.problems import Status, fail
from similis_cli.session import collection_id, session

if TYPE_CHECKING:
    from similis_client import MergedAnswer, Query, Region, Result, SearchAnswer, SimilisSync

Top = Annotated[int, typer.Option("--top", "-t", min=1, max=1000, help="Show at most so many results.")]
ByEntry = Annotated[bool, typer.Option("--by-entry", help="Show each entry of the repository once.")]


def search(
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE|URL", help="An image file, or the URL of an image.")
    ] = None,
    collections: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            "-c",
            metavar="COLLECTION",
            show_default=False,
            help="Id or name of a collection. May be given several times. Default: all collections.",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Search for what a text describes instead.")] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="X,Y,W,H", help="Only this part of the image, as fractions from 0 to 1."),
    ] = None,
    top: Top = 10,
    by_entry: ByEntry = False,
    max_false_match_rate: Annotated[
        float | None,
        typer.Option(
            "--max-false-match-rate", help="Leave out results that a query for something else would find more often."
        ),
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Find the images that look most like a given one."""
    from similis_client import Query

    part = None if region is None else _region(region)
    if (image is None) == (text is None):
        fail("Give an image or a URL, or --text.", Status.USAGE)
    is_url = image is not None and image.startswith(("http://", "https://"))
    if image is not None and not is_url:
        # Before the service is asked which collections there are.
        Path(image).open("rb").close()
    query = Query(
        image=Path(image) if image is not None and not is_url else None,
        image_url=image if is_url else None,
        text=text,
        region=part,
        num_results=top,
        max_false_match_rate=max_false_match_rate,
        group_by="repo_url" if by_entry else None,
    )
    with session(url, key_file) as similis:
        _show(_search(similis, query, collections or []), as_json=as_json)


def similar(
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE-ID|URL", help="An image of the collection, by its id or its URL.")
    ] = None,
    collection: Annotated[
        str, typer.Option("--collection", "-c", metavar="COLLECTION", help="Id or name of the collection.")
    ] = "",
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="URL", help="An entry of the repository instead of an image.")
    ] = None,
    top: Top = 10,
    by_entry: ByEntry = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Find more images like one of a collection. Nothing is downloaded for that."""
    if (image is None) == (entry is None):
        fail("Give the id or the URL of an image, or --entry.", Status.USAGE)
    if not collection:
        fail("Say with --collection which collection the image is in.", Status.USAGE)
    by_id = image is not None and image.isascii() and image.isdecimal()
    with session(url, key_file) as similis:
        answer = similis.similar(
            collection_id(similis, collection),
            image_id=int(image) if image is not None and by_id else None,
            image_url=None if by_id else image,
            repo_url=entry,
            num_results=top,
            group_by="repo_url" if by_entry else None,
        )
        _show(answer, as_json=as_json)


def _search(similis: SimilisSync, query: Query, collections: list[str]) -> SearchAnswer | MergedAnswer:
    named = [collection_id(similis, name) for name in collections]
    if not named:
        existing = similis.collections()
        if not existing:
            note("warning: There is no collection to search. 'similis import images.csv --name NAME' creates one.")
        # The answer for one collection also has its index and its own warnings.
        named = [existing[0].id] if len(existing) == 1 else []
    return similis.search(named[0], query) if len(named) == 1 else similis.search_collections(query, named or None)


def _show(answer: SearchAnswer | MergedAnswer, *, as_json: bool) -> None:
    from similis_client import MergedAnswer

    for warning in answer.warnings:
        note(f"warning: {warning}")
    if as_json:
        show_json(answer)
        return
    merged = isinstance(answer, MergedAnswer)
    if isinstance(answer, MergedAnswer):
        for skipped in answer.skipped:
            note(f"warning: collection {skipped.collection_id} was not searched: {skipped.detail or skipped.code}")
    # False match rates are not measured for texts.
    by_percentile = any(_percentile(result) for result in answer.results) and not any(map(_rate, answer.results))
    show_table(
        (
            ">Score",
            ">Percentile" if by_percentile else ">False matches",
            *(("Collection",) if merged else ()),
            ">Image",
            "URL",
            "Entry",
        ),
        (
            (
                f"{result.score:.4f}",
                _percentile(result) if by_percentile else _rate(result),
                *((result.collection_id,) if merged else ()),
                result.image_id,
                result.image_url,
                result.repo_url,
            )
            for result in answer.results
        ),
        empty="No results.",
    )


def _percentile(result: Result) -> str:
    return "" if result.percentile is None else f"{result.percentile:.1f}"


def _rate(result: Result) -> str:
    return "" if result.false_match_rate is None else f"{result.false_match_rate:.1%}"


def _region(text: str) -> Region:
    from similis_client import Region

    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        fail(f"--region needs four numbers from 0 to 1, such as 0.5,0,0.25,0.25, not {text!r}.", Status.USAGE)
    return Region(x=x, y=y, width=width, height=height)
