"""The CSV of a collection: read its rows, or say what is wrong and in which line.

Two columns, image URL and repository URL; RFC 4180 quoting; LF or CRLF; UTF-8 with or without BOM; comma, semicolon or
tab as delimiter; an optional header row. As spreadsheets save it, a file may also have a first line `sep=;`, blank
rows, and white space around quoted fields. `docs/api.md` has all rules.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from catalog.content.cell_text import PLAIN_ENTRY, PLAIN_URL, URL, excerpt, foreign_scheme, removed_characters, tidy
from gateway.content.column_count import wrong_columns
from gateway.content.csv_dialect import COLUMNS, Dialect, find_dialect, is_blank
from gateway.content.csv_records import Record, invalid_csv, lenient_records, strict_records
from gateway.content.csv_warnings import CsvWarnings, looks_like_image
from gateway.content.header_row import is_header
from servicekit.errors import InvalidRequest, TooLarge

BATCH_ROWS = 1000
BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class CsvSummary:
    """The number of rows of a CSV, and what its uploader should know, in sentences.

    row_lines: whether each line is a record.
    """

    row_count: int
    warnings: list[str]
    row_lines: bool


def copy_rows(source: Path, target: Path, *, max_rows: int) -> CsvSummary:
    """Write the rows of a CSV to `target` in the CSV format of Postgres' COPY.

    Raises InvalidRequest (invalid_csv), naming the line, what was expected and what was found; TooLarge for more than
    `max_rows` rows.
    """
    dialect = find_dialect(source)
    try:
        return _copy(source, target, dialect, max_rows, strict=True)
    except InvalidRequest:
        if not _has_quotes(source):
            raise
    # The reason may be white space around a quoted field. Otherwise the same error is raised again.
    return _copy(source, target, dialect, max_rows, strict=False)


def rows(found: Iterable[Record], warnings: CsvWarnings, *, strict: bool) -> Iterator[Sequence[str]]:
    """Check records and yield the rows among them, without the header row and blank rows.

    strict: refuse a quoted field after white space, which the strict reader does not recognize. Raises InvalidRequest
    (invalid_csv).
    """
    plain_url, plain_entry, may_be_header = PLAIN_URL.fullmatch, PLAIN_ENTRY.fullmatch, True
    for line, cells in found:
        # Most rows end here. Their cells need no check or change.
        if len(cells) == COLUMNS and plain_url(cells[0]) and plain_entry(cells[1]):
            may_be_header = False
            yield cells
            continue
        columns = [tidy(cell) for cell in cells]
        if is_blank(columns):
            continue
        if len(columns) != COLUMNS:
            raise invalid_csv(line, wrong_columns(columns))
        if may_be_header and is_header(columns):
            warnings.took_header(line, columns)
        else:
            _check_row(line, columns)
            if strict and columns[1].startswith('"') and not cells[1].startswith('"'):
                raise invalid_csv(line, f"expected a second column without a quote, found {excerpt(columns[1])}")
            if columns != cells:
                _note_removed(line, cells, columns, warnings)
            yield columns
        may_be_header = False


def _copy(source: Path, target: Path, dialect: Dialect, max_rows: int, *, strict: bool) -> CsvSummary:
    warnings, count, lines = CsvWarnings(), 0, _Lines(dialect.skip)
    read = strict_records if strict else lenient_records
    with source.open("rb") as file, target.open("w", encoding="utf-8", newline="") as output:
        # Everything is quoted, because COPY reads an unquoted empty field as NULL.
        writer = csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n")
        found = rows(lines.counted(read(file, dialect.delimiter, dialect.skip)), warnings, strict=strict)
        while batch := list(islice(found, BATCH_ROWS)):
            if not count:
                warnings.sample(batch)
            count += len(batch)
            if count > max_rows:
                raise TooLarge(f"The CSV may have at most {max_rows} rows.")
            writer.writerows(batch)
        return CsvSummary(count, warnings.messages(), lines.are_records)


class _Lines:
    """Notes whether each line is a record."""

    def __init__(self, skip: int) -> None:
        self.are_records = True
        self._skip = skip

    def counted(self, found: Iterable[Record]) -> Iterator[Record]:
        """Yield the records."""
        line, record = self._skip, None
        for line, record in enumerate(found, self._skip + 1):
            if record[0] != line:
                break
            yield record
        else:
            # The last record may have several lines, too.
            self.are_records = record is None or not _has_line_end(record[1])
            return
        self.are_records = False
        yield record
        yield from found


def _has_line_end(cells: Iterable[str]) -> bool:
    return any("\n" in cell for cell in cells)


def _check_row(line: int, columns: Sequence[str]) -> None:
    image_url, repo_url = columns
    # The reader has limited the length already.
    if not URL.fullmatch(image_url):
        problem = f"expected an http(s) URL in the first column, found {excerpt(image_url)}"
        if looks_like_image(repo_url):
            problem += ". The second column looks like the image URL: swap the columns"
        raise invalid_csv(line, problem)
    if scheme := foreign_scheme(repo_url):
        expected = "expected an http(s) URL, or text without another scheme, in the second column"
        raise invalid_csv(line, f"{expected}, found “{scheme}:” in {excerpt(repo_url)}")


def _note_removed(line: int, cells: Sequence[str], columns: Sequence[str], warnings: CsvWarnings) -> None:
    removed = set().union(*map(removed_characters, cells, columns))
    if removed:
        warnings.cleaned(line, removed)


def _has_quotes(source: Path) -> bool:
    with source.open("rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(BLOCK_BYTES), b""))
