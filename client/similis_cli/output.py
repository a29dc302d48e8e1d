"""Results on standard output: tables for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from similis_client import Confirmation

Cell = str | int | float | None


def printable(text: str) -> str:
    """Return a text without characters that control a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Print rows: as a table on a terminal, and otherwise with tabs and without a header.

    A column whose name begins with `>` is aligned to the right. empty: what to say if there are no rows.
    """
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(_text(cell) for cell in row) + "\n")
        return
    lines = [[_text(cell) for cell in row] for row in rows]
    if not lines:
        say(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        # Short columns stay on one line. Long ones, such as URLs, are folded, so that nothing is cut off.
        title = column.removeprefix(">")
        width = max(len(title), *(len(line[number]) for line in lines))
        table.add_column(
            title,
            justify="right" if column.startswith(">") else "left",
            min_width=width if width <= SHORT else None,
            overflow="fold",
        )
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    Console(highlight=False).print(table)


def show_fields(fields: Iterable[tuple[str, Cell]]) -> None:
    """Print names and values, one in a line. Values that are None are left out."""
    given = [(name, _text(value)) for name, value in fields if value is not None]
    width = max(len(name) for name, _ in given)
    for name, value in given:
        say(f"{name:<{width}}  {value}" if sys.stdout.isatty() else f"{name}\t{value}")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{printable(text) if chr(9) not in text else text}\n")


def show_json(value: object) -> None:
    """Print an answer as JSON."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def show_message(answer: Confirmation, *, as_json: bool) -> None:
    """Print what an answer says, or all of it as JSON."""
    if as_json:
        show_json(answer)
    else:
        say(answer.message)


def show_json_line(value: object) -> None:
    """Print an answer as JSON in one line, for a series of answers."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def show_json_list(values: Iterable[object]) -> None:
    """Print a list as JSON, item by item, so that a long one needs no memory."""
    import msgspec

    separator = b"["
    for value in values:
        sys.stdout.buffer.write(separator + b"\n  " + msgspec.json.encode(value))
        separator = b","
    sys.stdout.buffer.write(b"[]\n" if separator == b"[" else b"\n]\n")
    sys.stdout.buffer.flush()


# The most characters of a cell that is never folded.
SHORT = 14


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return printable(str(cell))
