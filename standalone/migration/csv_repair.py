"""Repair the CSV of the older service, which accepted what we refuse.

It cut each line at every comma, whatever its quotes, so that an image URL with commas became several columns. It kept
blank lines, and rows without a repository URL.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FIELD_CHARACTERS = 1024 * 1024
WEB = ("http://", "https://")


@dataclass(frozen=True)
class Repair:
    """What was repaired. changed: the number of changed rows. blank: the number of blank rows, which were skipped."""

    changed: int
    blank: int


class NotRepairable(Exception):
    """A row cannot be repaired. The message names its line and what it has."""


def repair(source: Path, target: Path) -> Repair:
    """Write a CSV with two columns. Raises NotRepairable for a row that cannot be repaired without guessing."""
    changed = blank = 0
    with target.open("w", encoding="utf-8", newline="") as output:
        writer = csv.writer(output, lineterminator="\r\n")
        for line, cells in _rows(source):
            row = _two_columns(cells)
            if row is None:
                blank += 1
                continue
            if len(row) != 2:
                raise NotRepairable(f"line {line} has {len(cells)} columns: {','.join(cells)[:200]}")
            changed += row != cells
            writer.writerow(row)
    return Repair(changed, blank)


def _rows(source: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise NotRepairable(f"line {reader.line_num + 1} cannot be read: {error}") from error


def _two_columns(cells: list[str]) -> list[str] | None:
    """Return the row in two columns, or as it is if that is not possible; None for a blank row."""
    cells = [cell.strip() for cell in cells]
    if not any(cells):
        return None
    while len(cells) > 2 and not cells[-1]:
        cells = cells[:-1]
    if len(cells) <= 2:
        return [*cells, ""][:2]
    quoted = next(csv.reader([",".join(cells)]))
    if len(quoted) == 2:
        return [cell.strip() for cell in quoted]
    # An image URL without quotes that has commas: everything before the repository URL.
    if cells[0].startswith(WEB) and cells[-1].startswith(WEB) and not any(c.startswith(WEB) for c in cells[1:-1]):
        return [",".join(cells[:-1]), cells[-1]]
    return cells
