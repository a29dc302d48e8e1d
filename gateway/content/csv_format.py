"""The CSV of a collection: read its rows, or say what is wrong and in which line.

Two columns, image URL and repository URL; RFC 4180 quoting; LF or CRLF; UTF-8 with or without BOM; comma, semicolon or
tab as delimiter; an optional header row. Empty lines are skipped.
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
# The delimiter is chosen by the first records.
SAMPLE_RECORDS = 50
MAX_FIELD_CHARACTERS = 64 * 1024
MAX_LINE_BYTES = 1024 * 1024
BOM = b"\xef\xbb\xbf"
UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")

URL = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f][^\x00-\x1f\x7f]*", re.IGNORECASE)
# A cell with a slash could be an address, so it is data or a mistake in it, never the name of a column.
HEADER_CELL = re.compile(r"[^/\\]*[^\s/\\][^/\\]*")

SINGLE_CR = "expected lines that end with LF or CRLF, found a CR without LF"
# Parts of the csv module's messages, and what we say instead.
CSV_ERRORS = {
    "field larger": f"expected at most {MAX_FIELD_CHARACTERS} characters in a field, found more or an unclosed quote",
    "new-line character": SINGLE_CR,
    "unexpected end": "expected a closing quote, found the end of the file",
    "expected after": "expected a delimiter or the end of the line after a closing quote, found other text",
}

# The number of the line that a record begins in, from 1, and its cells.
Record = tuple[int, list[str]]


@dataclass(frozen=True)
class CsvSummary:
    """The number of rows of a CSV, and its delimiter."""

    row_count: int
    delimiter: str


def is_image_url(text: str) -> bool:
    """Return whether a text is valid as the image URL of a row."""
    return URL.fullmatch(text) is not None and len(text) <= MAX_FIELD_CHARACTERS


def copy_rows(source: Path, target: Path, *, max_rows: int) -> CsvSummary:
    """Write the rows of a CSV to `target` in the CSV format of Postgres' COPY.

    Raises InvalidRequest (invalid_csv), naming the line, what was expected and what was found; TooLarge for more than
    `max_rows` rows.
    """
    delimiter = find_delimiter(source)
    count = 0
    with source.open("rb") as file, target.open("w", encoding="utf-8", newline="") as output:
        # Everything is quoted, because COPY reads an unquoted empty field as NULL.
        writer = csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for _, row in rows(records(file, delimiter)):
            count += 1
            if count > max_rows:
                raise TooLarge(f"The CSV may have at most {max_rows} rows.")
            writer.writerow(row)
    return CsvSummary(count, delimiter)


def find_delimiter(source: Path) -> str:
    """Return the delimiter under which most of the first records are two columns of URLs."""
    best, best_score = DELIMITERS[0], 0
    for delimiter in DELIMITERS:
        with source.open("rb") as file:
            score = _score(records(file, delimiter))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def rows(found: Iterable[Record]) -> Iterator[Record]:
    """Check records and yield the rows among them, without the header row. Raises InvalidRequest (invalid_csv)."""
    header: int | None = None
    empty = True
    for number, (line, cells) in enumerate(found):
        columns = [cell.strip() for cell in cells]
        if len(columns) != COLUMNS:
            raise _invalid(line, f"expected two columns (image URL, repository URL), found {len(columns)}")
        if number == 0 and _is_header(columns):
            header = line
            continue
        # The reader has limited the length already.
        if not URL.fullmatch(columns[0]):
            raise _invalid(line, f"expected an http(s) URL in the first column, found {_excerpt(columns[0])}")
        empty = False
        yield line, columns
    if header is not None and empty:
        raise _invalid(header, "expected rows that begin with an http(s) URL below the header row, found none")


def records(file: BinaryIO, delimiter: str) -> Iterator[Record]:
    """Yield the records of a file without empty lines. Raises InvalidRequest (invalid_csv)."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(_lines(file), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _invalid(line, _explain(str(error))) from None
        if len(cells) > 1 or any(cell.strip() for cell in cells):
            yield line, cells


def _lines(file: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            if raw.startswith(UTF_16_BOMS):
                raise _invalid(1, "expected UTF-8, found UTF-16")
            raw = raw.removeprefix(BOM)
        if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raise _invalid(number, f"expected at most {MAX_LINE_BYTES} bytes in a line, found more")
        if raw.endswith(b"\r"):
            # At the end of a file, the csv module would accept it as the end of a line.
            raise _invalid(number, SINGLE_CR)
        if b"\0" in raw:
            raise _invalid(number, "expected text in UTF-8, found a NUL byte")
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            raise _invalid(number, f"expected UTF-8, found the byte 0x{raw[error.start]:02X}") from None


def _score(found: Iterator[Record]) -> int:
    score = 0
    try:
        for _, cells in islice(found, SAMPLE_RECORDS):
            if len(cells) != COLUMNS:
                continue
            first, second = (URL.fullmatch(cell.strip()) is not None for cell in cells)
            # Two columns without URLs, such as a header, still count a little.
            score += 100 * (first and second) + 10 * first + 1
    except InvalidRequest:
        # The quoting may be valid under another delimiter. If it is valid under none, reading the rows reports it.
        return score
    return score


def _is_header(columns: list[str]) -> bool:
    return all(HEADER_CELL.fullmatch(column) for column in columns)


def _invalid(line: int, problem: str) -> InvalidRequest:
    return InvalidRequest(f"Line {line}: {problem}.", code="invalid_csv")


def _explain(error: str) -> str:
    found = (text for part, text in CSV_ERRORS.items() if part in error)
    return next(found, "expected fields that are quoted as in RFC 4180, found other quoting")


def _excerpt(text: str) -> str:
    if not text:
        return "an empty field"
    return f"“{text}”" if len(text) <= 60 else f"“{text[:60]}…”"
