"""The style of a CSV: how its rows are written, so that new rows are written in the same way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import pairwise
from pathlib import Path

from catalog.content.cell_text import is_image_url, tidy
from gateway.content.csv_dialect import DELIMITERS, SAMPLE_ROWS, find_dialect, is_blank
from gateway.content.csv_records import BOM, lenient_records
from servicekit.errors import InvalidRequest

# Enough to find the delimiter, and to see how rows are written.
HEAD_BYTES = 1024 * 1024
# A field with one of these is quoted. All delimiters count, so that a new row fits only the one that the file has.
NEED_QUOTES = frozenset((*DELIMITERS, '"', "\r", "\n"))


@dataclass(frozen=True)
class CsvStyle:
    """How rows are written. quoted: whether each column is quoted in all rows. ended: whether the last line ends."""

    delimiter: str
    quoted: tuple[bool, bool]
    line_end: str
    ended: bool

    def written(self, rows: Iterable[Sequence[str]]) -> bytes:
        """Return the bytes that append rows to the file. It ends with a line end afterwards if it did before."""
        lines = (self.delimiter.join(map(_written, row, self.quoted)) for row in rows)
        text = self.line_end.join(lines)
        return (f"{text}{self.line_end}" if self.ended else f"{self.line_end}{text}").encode()


def find_style(head: Path, last_byte: bytes) -> CsvStyle:
    """Return the style of a file. head: its beginning, or all of it. last_byte: nothing if it is empty."""
    dialect, data = find_dialect(head), head.read_bytes().removeprefix(BOM)
    lines = list(StringIO(data.decode(errors="replace"), newline="\n"))
    sample = [(raw, cells) for raw, cells in _records(data, lines, dialect.delimiter, dialect.skip)]
    rows = [raw for raw, cells in sample if is_image_url(tidy(cells[0]))] or [raw for raw, _ in sample]
    ends = [line for line in (*lines[:1], *(raw for raw, _ in sample)) if line.endswith("\n")]
    return CsvStyle(
        dialect.delimiter,
        quoted=(_all(raw.lstrip().startswith('"') for raw in rows), _all(raw.rstrip().endswith('"') for raw in rows)),
        line_end="\r\n" if ends and ends[-1].endswith("\r\n") else "\n",
        ended=not data or last_byte == b"\n",
    )


def _records(data: bytes, lines: Sequence[str], delimiter: str, skip: int) -> list[tuple[str, list[str]]]:
    """Return the first rows that are not blank: the text of each, and its cells."""
    # The start of a record is the end of the one before.
    found: list[tuple[int, list[str]]] = []
    try:
        for record in lenient_records(BytesIO(data), delimiter, skip):
            found.append(record)
            if len(found) > SAMPLE_ROWS:
                break
        else:
            found.append((len(lines) + 1, []))
    except InvalidRequest:
        # The head ends in the middle of a row.
        pass
    texts = ("".join(lines[start - 1 : end - 1]) for (start, _), (end, _) in pairwise(found))
    return [(text, cells) for text, (_, cells) in zip(texts, found, strict=False) if not is_blank(cells)]


def _all(found: Iterable[bool]) -> bool:
    listed = list(found)
    return bool(listed) and all(listed)


def _written(cell: str, always: bool) -> str:
    if always or not NEED_QUOTES.isdisjoint(cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell
