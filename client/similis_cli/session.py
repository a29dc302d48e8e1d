"""A connection to the service that a command was asked to call."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from similis_cli.config import target
from similis_cli.problems import fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from similis_client import SimilisSync


@contextmanager
def session(url: str | None, key_file: Path | None) -> Iterator[SimilisSync]:
    """Yield a client for the service. It is imported here, because help and completion do without it."""
    chosen = target(url, key_file)
    from similis_client import SimilisSync

    with SimilisSync(chosen.url, chosen.key) as similis:
        yield similis


def collection_id(similis: SimilisSync, text: str) -> int:
    """Return the id of the collection that a person named by its id or by its name."""
    if text.isascii() and text.isdecimal():
        return int(text)
    found = [collection.id for collection in similis.collections() if collection.name == text]
    if not found:
        fail(f"There is no collection with the name {text!r}. 'similis list' shows all of them.")
    if len(found) > 1:
        fail(f"{len(found)} collections have the name {text!r}. Use an id: {', '.join(map(str, found))}.")
    return found[0]
