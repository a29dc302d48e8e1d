"""Find rows by their lines, in a CSV in which each line is a record, so that not all of it has to be read.

The rows of a URL are counted. If they are not as many as the content has, as when a row is written in an unusual way,
nothing is found, and the whole CSV has to be read instead.
"""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

from gateway.content.csv_dialect import Dialect
from gateway.content.csv_format import rows
from gateway.content.csv_records import BOM, lenient_records, strict_records
from gateway.content.csv_warnings import CsvWarnings
from gateway.images.row_ranges import ByteRange, WantedRow
from servicekit.errors import InvalidRequest

# For more rows, reading the whole CSV is faster.
MOST_ROWS = 4

# Where a line stands, and its bytes with the line end.
Line = tuple[ByteRange, bytes]


def texts_of(wanted: Iterable[WantedRow], dialect: Dialect) -> list[bytes]:
    """Return what one of must be in the lines of these rows: the URL, and what ends its field."""
    urls = dict.fromkeys(row.image_url for row in wanted)
    return [(url + end).encode() for url in urls for end in (dialect.delimiter, '"')]


def ranges_in_lines(
    lines: Iterable[Line], wanted: Sequence[WantedRow], totals: Mapping[str, int], dialect: Dialect
) -> list[ByteRange] | None:
    """Return where rows stand, in order; None if that is not certain. Neighbours are one range.

    lines: those with one of `texts_of`, in order. totals: how many rows of the content have each URL.
    """
    places = {(row.image_url, row.occurrence): row.repo_url for row in wanted}
    seen = dict.fromkeys((row.image_url for row in wanted), 0)
    found: list[ByteRange] = []
    for (start, end), data in lines:
        cells = _cells(data, dialect)
        if cells is None or cells[0] not in seen:
            continue
        seen[cells[0]] += 1
        place = (cells[0], seen[cells[0]])
        if place in places:
            if places[place] != cells[1]:
                return None
            begin = start + len(BOM) if data.startswith(BOM) else start
            if found and found[-1][1] == begin:
                begin = found.pop()[0]
            found.append((begin, end))
            del places[place]
    return None if places or seen != dict(totals) else found


def _cells(data: bytes, dialect: Dialect) -> Sequence[str] | None:
    """Return the cells of a line; None if it is no row."""
    for read, strict in ((strict_records, True), (lenient_records, False)):
        try:
            return next(rows(read(BytesIO(data), dialect.delimiter, 0), CsvWarnings(), strict=strict), None)
        except InvalidRequest:
            continue
    return None
