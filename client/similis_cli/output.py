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


def note(message: str) -> None:
    """Say something on standard error that is no result."""
    sys.stderr.write(f"{message}\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Print rows: as a table on a terminal, and otherwise with tabs and without a header.

    A column whose name begins with `>` is aligned to the right. empty: what to say if there are no rows, on standard
    error unless there is a terminal. On a terminal that is too narrow for the columns, each cell has its own line.
    """
    if not sys.stdout.isatty():
        row = None
        for row in rows:
            sys.stdout.write("\t".join(_text(cell) for cell in row) + "\n")
        if row is None:
            note(empty)
        return
    lines = [[_text(cell) for cell in row] for row in rows]
    if not lines:
        say(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    titles = [column.removeprefix(">") for column in columns]
    widths = [max(len(title), *(len(line[number]) for line in lines)) for number, title in enumerate(titles)]
    if sum(min(width, FOLDED) for width in widths) + 3 * len(columns) > console.width:
        _show_cells(titles, lines)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column, title, width in zip(columns, titles, widths, strict=True):
        # Short columns stay on one line. Long ones, such as URLs, are folded, so that nothing is cut off.
        table.add_column(
            title,
            justify="right" if column.startswith(">") else "left",
            min_width=min(width, FOLDED),
            overflow="fold",
        )
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table)


def _show_cells(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print each cell in a line, with its title, and an empty line between rows."""
    width = max(map(len, titles))
    for number, line in enumerate(lines):
        if number:
            say("")
        for title, cell in zip(titles, line, strict=True):
            if cell:
                say(f"{title:<{width}}  {cell}")


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


# The most characters of a cell that is never folded, and the least that one is folded to.
FOLDED = 14


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return printable(str(cell))
