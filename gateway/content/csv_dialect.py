"""The dialect of a CSV: its delimiter, and whether it begins with a line `sep=`, which Excel reads."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from catalog.content.cell_text import BLANK, URL, tidy
from gateway.content.csv_records import BOM, Record, invalid_csv, lenient_records
from gateway.content.csv_warnings import IMAGE_FILE
from servicekit.errors import InvalidRequest

DELIMITERS = (",", ";", "\t")
NOTHING = BLANK + "".join(DELIMITERS)
COLUMNS = 2
# The delimiter is chosen by the first rows. Blank rows do not count, but are not read without end either.
SAMPLE_ROWS = 50
SAMPLE_RECORDS = 10_000
# A program that saves the file again may quote the line, or fill it up with delimiters.
SEP_LINE = re.compile(r'"?sep=(.?)"?[,;\t ]*\r?\n?', re.IGNORECASE)


def is_blank(cells: Iterable[str]) -> bool:
    """Return whether a row has nothing but white space, and delimiters of any kind."""
    return not any(cell.strip(NOTHING) for cell in cells)


@dataclass(frozen=True)
class Dialect:
    """The dialect of a CSV. skip: the number of lines before the first record."""

    delimiter: str
    skip: int


def find_dialect(source: Path) -> Dialect:
    """Return the dialect of a file. Raises InvalidRequest (invalid_csv) for a delimiter that is not allowed."""
    declared = _declared_delimiter(source)
    if declared is None:
        return Dialect(_likely_delimiter(source), skip=0)
    if declared not in DELIMITERS:
        found = f"“{declared}”" if declared else "nothing"
        raise invalid_csv(1, f"expected a comma, a semicolon or a tab after “sep=”, found {found}")
    return Dialect(declared, skip=1)


def _declared_delimiter(source: Path) -> str | None:
    with source.open("rb") as file:
        line = file.readline(100).removeprefix(BOM).decode(errors="replace")
    found = SEP_LINE.fullmatch(line)
    return None if found is None else found[1]


def _likely_delimiter(source: Path) -> str:
    """Return the delimiter under which most of the first rows are two columns of URLs.

    If there is none, return one under which the first cell is a URL. Messages then count columns as people do.
    """
    best, best_score = DELIMITERS[0], 0
    for delimiter in DELIMITERS:
        with source.open("rb") as file:
            score = _score(lenient_records(file, delimiter, 0), "".join(DELIMITERS).replace(delimiter, ""))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _wholeness(cell: str, others: str) -> int:
    """Return points for a first cell that looks whole: other delimiters would cut it elsewhere.

    others: the other delimiters. A name of an image file at the end counts more than the lack of those.
    """
    path = re.split("[?#]", tidy(cell), maxsplit=1)[0]
    is_file = any(found.end() == len(path) for found in IMAGE_FILE.finditer(path))
    return 10 * is_file + 5 * (not any(delimiter in cell for delimiter in others))


def _score(found: Iterator[Record], others: str) -> int:
    score = 0
    try:
        rows = (cells for _, cells in islice(found, SAMPLE_RECORDS) if not is_blank(cells))
        for cells in islice(rows, SAMPLE_ROWS):
            first, second = (URL.fullmatch(tidy(cell)) is not None for cell in (*cells, "")[:COLUMNS])
            if len(cells) == COLUMNS:
                # Two columns without URLs, such as a header, still count a little.
                score += 10_000 * (first and second) + 1000 * first + 100 + _wholeness(cells[0], others)
            elif len(cells) > COLUMNS:
                score += first and second
    except InvalidRequest:
        # The quoting may be valid under another delimiter. If it is valid under none, reading the rows reports it.
        return score
    return score
