"""Where rows stand in a CSV, as ranges of bytes, so that they can be cut out and everything else stays as it is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.content.csv_dialect import find_dialect
from gateway.content.csv_format import rows
from gateway.content.csv_records import BOM, Record, lenient_records, strict_records
from gateway.content.csv_warnings import CsvWarnings
from servicekit.errors import InvalidRequest

BLOCK_BYTES = 1024 * 1024

# The first byte of a row, and the byte after its last.
ByteRange = tuple[int, int]


@dataclass(frozen=True)
class WantedRow:
    """A row to find. occurrence: 1 for the first row with its image URL, and so on."""

    image_url: str
    repo_url: str
    occurrence: int


@dataclass(frozen=True)
class FoundRows:
    """The number of rows in a CSV, and where the wanted ones stand, in order. Neighbours are one range."""

    row_count: int
    ranges: list[ByteRange]


def find_rows(source: Path, wanted: Sequence[WantedRow]) -> FoundRows:
    """Find rows in a CSV. Raises InvalidRequest, content_needs_upload, if the CSV does not have them."""
    try:
        return _found(source, wanted, strict=True)
    except InvalidRequest:
        # As in an upload, the reason may be white space around a quoted field.
        pass
    try:
        return _found(source, wanted, strict=False)
    except InvalidRequest as error:
        # An older release accepted the CSV by other rules.
        problem = "The CSV that is stored cannot be edited by row. Nothing was deleted. Upload it again first"
        raise InvalidRequest(f"{problem}: {error.message}", code="content_needs_upload") from None


def remaining_blocks(source: Path, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
    """Yield a file in blocks, without some ranges."""
    size = source.stat().st_size
    gaps = zip([0, *(end for _, end in ranges)], [*(start for start, _ in ranges), size], strict=True)
    with source.open("rb") as file:
        for start, end in gaps:
            file.seek(start)
            while start < end:
                block = file.read(min(BLOCK_BYTES, end - start))
                start += len(block)
                yield block


def _found(source: Path, wanted: Sequence[WantedRow], *, strict: bool) -> FoundRows:
    dialect = find_dialect(source)
    read = strict_records if strict else lenient_records
    with source.open("rb") as file:
        lines = _RowLines(read(file, dialect.delimiter, dialect.skip))
        count = lines.find(wanted, strict=strict)
    return FoundRows(count, _ranges(source, lines.spans))


class _RowLines:
    """The lines of the wanted rows: the first one of each, and the one after its last, None for the end of the file."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.spans: list[tuple[int, int | None]] = []
        self._records = records
        self._line = 0
        self._begun: int | None = None

    def find(self, wanted: Sequence[WantedRow], *, strict: bool) -> int:
        """Read all records, and return the number of rows among them."""
        by_url: dict[str, dict[int, str]] = {}
        for row in wanted:
            by_url.setdefault(row.image_url, {})[row.occurrence] = row.repo_url
        seen = dict.fromkeys(by_url, 0)
        count = 0
        for cells in rows(self._watched(), CsvWarnings(), strict=strict):
            count += 1
            url = cells[0]
            if url in seen:
                seen[url] += 1
                if self._is_wanted(by_url[url], seen[url], cells[1]):
                    self._begun = self._line
        if self._begun is not None:
            self.spans.append((self._begun, None))
        if len(self.spans) != len(wanted):
            raise InvalidRequest("It does not have the rows of all these images.")
        return count

    @staticmethod
    def _is_wanted(occurrences: Mapping[int, str], occurrence: int, repo_url: str) -> bool:
        return occurrences.get(occurrence) == repo_url

    def _watched(self) -> Iterator[Record]:
        for record in self._records:
            self._line = record[0]
            if self._begun is not None:
                self.spans.append((self._begun, self._line))
                self._begun = None
            yield record


def _ranges(source: Path, spans: Sequence[tuple[int, int | None]]) -> list[ByteRange]:
    wanted = {line for span in spans for line in span if line is not None}
    offsets, size, ended = {}, 0, True
    with source.open("rb") as file:
        first = len(BOM) if file.read(len(BOM)) == BOM else 0
        file.seek(0)
        for number, line in enumerate(file, 1):
            if number in wanted:
                offsets[number] = max(size, first)
            size += len(line)
            ended = line.endswith(b"\n")
    merged: list[ByteRange] = []
    for start_line, end_line in spans:
        start, end = offsets[start_line], size if end_line is None else offsets[end_line]
        if merged and merged[-1][1] == start:
            start = merged.pop()[0]
        merged.append((start, end))
    if merged and merged[-1][1] == size and not ended:
        # The last line has no line end, and the one that becomes the last has none either.
        start = _before_line_end(source, merged[-1][0], first)
        merged[-1] = (start, size)
    return merged


def _before_line_end(source: Path, position: int, first: int) -> int:
    """Return where the line end before a position begins. first: the position of the first line."""
    with source.open("rb") as file:
        file.seek(max(position - 2, first))
        return position - line_end_size(file.read(position - file.tell()))


def line_end_size(data: bytes) -> int:
    """Return how many bytes the line end at the end of some bytes has."""
    return 2 if data.endswith(b"\r\n") else 1 if data.endswith(b"\n") else 0
