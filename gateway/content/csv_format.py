"""The CSV of a collection: which rows it has, or what is wrong with it and in which line.

Two columns, image URL and repository URL; RFC 4180 quoting; LF or CRLF; UTF-8 with or without BOM; delimiter comma,
semicolon or tab; an optional header row. Empty lines are no rows.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from servicekit.errors import InvalidRequest, TooLarge

DELIMITERS = (",", ";", "\t")
COLUMNS = 2
# Records that decide which delimiter it is.
SAMPLE_RECORDS = 50
MAX_FIELD_CHARACTERS = 64 * 1024
MAX_LINE_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"
UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")

URL = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f][^\x00-\x1f\x7f]*", re.IGNORECASE)
# A header names its columns; whatever could be an address is data, or a mistake in it.
HEADER_CELL = re.compile(r"[^/\\]*[^\s/\\][^/\\]*")

BARE_CR = "expected lines that end with LF or CRLF, found a bare CR"
# What the csv module finds, and how we say it.
CSV_ERRORS = {
    "field larger": f"a field has more than {MAX_FIELD_CHARACTERS} characters, or its quote is never closed",
    "new-line character": BARE_CR,
    "unexpected end": "a quoted field is never closed",
    "expected after": "expected a delimiter after the closing quote of a field (RFC 4180)",
}

Record = tuple[int, list[str]]


@dataclass(frozen=True)
class CsvSummary:
    """What a CSV was found to be. delimiter: one character."""

    row_count: int
    delimiter: str


def copy_rows(source: Path, target: Path, *, max_rows: int) -> CsvSummary:
    """Writes the rows of a CSV to `target`, in the CSV format of Postgres' COPY.

    Raises InvalidRequest, invalid_csv, naming the line and what was expected; TooLarge for too many rows.
    """
    delimiter = find_delimiter(source)
    count = 0
    with source.open("rb") as file, target.open("w", encoding="utf-8", newline="") as output:
        # Everything is quoted: an unquoted empty field would be NULL.
        writer = csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for _, row in rows(records(file, delimiter)):
            count += 1
            if count > max_rows:
                raise TooLarge(f"The CSV has more than {max_rows} rows.")
            writer.writerow(row)
    return CsvSummary(count, delimiter)


def find_delimiter(source: Path) -> str:
    """The delimiter under which most of the first records are two columns that begin with URLs."""
    best, best_score = DELIMITERS[0], 0
    for delimiter in DELIMITERS:
        with source.open("rb") as file:
            score = _score(records(file, delimiter))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def rows(found: Iterable[Record]) -> Iterator[Record]:
    """The rows of records, checked, without header row and empty lines. Raises InvalidRequest, invalid_csv."""
    header: int | None = None
    empty = True
    for number, (line, raw) in enumerate(found):
        columns = [column.strip() for column in raw]
        _check_columns(line, columns)
        if number == 0 and _is_header(columns):
            header = line
            continue
        if not URL.fullmatch(columns[0]):
            raise invalid_csv(line, f"expected an http(s) URL in the first column, found {_shown(columns[0])}")
        empty = False
        yield line, columns
    if header is not None and empty:
        raise invalid_csv(header, "expected an http(s) URL in the first column; there is nothing below the header row")


def records(file: BinaryIO, delimiter: str) -> Iterator[Record]:
    """The records of a file with the number of the line each begins in, empty lines left out.

    Raises InvalidRequest, invalid_csv.
    """
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(_lines(file), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise invalid_csv(line, _explain(str(error))) from None
        if any(column.strip() for column in record) or len(record) > 1:
            yield line, record


def invalid_csv(line: int, problem: str) -> InvalidRequest:
    """The refusal of a CSV, for what is wrong in a line (from 1)."""
    return InvalidRequest(f"Line {line}: {problem}.", code="invalid_csv")


def _lines(file: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            if raw.startswith(UTF_16_BOMS):
                raise invalid_csv(1, "expected UTF-8, found UTF-16")
            raw = raw.removeprefix(BOM)
        if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raise invalid_csv(number, f"the line has more than {MAX_LINE_BYTES} bytes; lines end with LF or CRLF")
        if raw.endswith(b"\r"):
            # The csv module would take it for an end of line where nothing follows.
            raise invalid_csv(number, BARE_CR)
        if b"\0" in raw:
            raise invalid_csv(number, "expected text in UTF-8, found a NUL byte")
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            raise invalid_csv(number, f"expected UTF-8, found the byte 0x{raw[error.start]:02X}") from None


def _score(found: Iterator[Record]) -> int:
    score = 0
    try:
        for _, columns in islice(found, SAMPLE_RECORDS):
            if len(columns) != COLUMNS:
                continue
            first, second = (URL.fullmatch(column.strip()) is not None for column in columns)
            # A record of two columns of other text, a header, still speaks for a delimiter.
            score += 100 * (first and second) + 10 * first + 1
    except InvalidRequest:
        # Under another delimiter the quoting may be right; under none, reading the rows tells what is wrong.
        return score
    return score


def _check_columns(line: int, columns: list[str]) -> None:
    if len(columns) != COLUMNS:
        expected = "expected two columns (image URL, repository URL)"
        raise invalid_csv(line, f"{expected}, found {len(columns)}")


def _is_header(columns: list[str]) -> bool:
    return all(HEADER_CELL.fullmatch(column) for column in columns)


def _explain(error: str) -> str:
    return next((text for sign, text in CSV_ERRORS.items() if sign in error), "the quoting is not that of RFC 4180")


def _shown(text: str) -> str:
    cut = text if len(text) <= 60 else text[:60] + "…"
    return f"“{cut}”" if cut else "nothing"


def is_image_url(text: str) -> bool:
    """Return whether a text can be the image URL of a row."""
    return len(text) <= MAX_FIELD_CHARACTERS and URL.fullmatch(text) is not None
