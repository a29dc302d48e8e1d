"""The commands of a content process that edits need: files in, files out, as for uploads."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gateway.content.csv_dialect import Dialect, find_dialect
from gateway.http.json_object import parse_object
from gateway.images.csv_style import HEAD_BYTES, find_style
from gateway.images.new_rows import FIELD, check_rows
from gateway.images.row_ranges import ByteRange, WantedRow, find_rows, remaining_blocks
from servicekit.errors import InvalidRequest


@dataclass(frozen=True)
class CheckedImages:
    """Rows that can be added. fields: the names of the body's other fields. warnings: sentences for the client."""

    row_count: int
    fields: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class WrittenRows:
    """Rows as they are appended to the CSV. size: in bytes. row_lines: whether each is one line."""

    size: int
    row_lines: bool


@dataclass(frozen=True)
class LocatedRows:
    """Where rows stand in a CSV: pairs of the first byte and the byte after the last.

    row_count: of all rows. digest: the SHA-256 of the CSV without the rows, in hexadecimal.
    """

    row_count: int
    ranges: list[list[int]]
    digest: str


@dataclass(frozen=True)
class CheckImages:
    """Check the rows in a JSON body, and write them for Postgres' COPY."""

    answer: ClassVar[type[CheckedImages]] = CheckedImages

    body: str
    target: str

    def run(self) -> CheckedImages:
        """Raises InvalidRequest (invalid_json, invalid_images)."""
        body = parse_object(Path(self.body).read_bytes())
        checked = check_rows(body)
        with Path(self.target).open("w", encoding="utf-8", newline="") as output:
            csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(checked.rows)
        return CheckedImages(len(checked.rows), [name for name in body if name != FIELD], checked.warnings())


@dataclass(frozen=True)
class WriteRows:
    """Write checked rows as they are appended to a CSV. head: its beginning. last_byte: in hexadecimal."""

    answer: ClassVar[type[WrittenRows]] = WrittenRows

    head: str
    last_byte: str
    rows: str
    target: str

    def run(self) -> WrittenRows:
        """Write the rows in the style of the CSV."""
        style = find_style(Path(self.head), bytes.fromhex(self.last_byte))
        with Path(self.rows).open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        written = style.written(rows)
        Path(self.target).write_bytes(written)
        return WrittenRows(len(written), written.count(b"\n") == len(rows))


@dataclass(frozen=True)
class LocateRows:
    """Find rows in a CSV. wanted: a file with a JSON list of objects with image_url, repo_url and occurrence."""

    answer: ClassVar[type[LocatedRows]] = LocatedRows

    source: str
    wanted: str

    def run(self) -> LocatedRows:
        """Raises InvalidRequest (content_needs_upload, ambiguous_delimiter)."""
        source = Path(self.source)
        wanted = [WantedRow(**row) for row in json.loads(Path(self.wanted).read_bytes())]
        found = find_rows(source, wanted)
        digest = hashlib.sha256()
        for block in remaining_blocks(source, found.ranges):
            digest.update(block)
        if found.row_count > len(wanted):
            check_dialect(source, found.ranges, find_dialect(source))
        return LocatedRows(found.row_count, [list(one) for one in found.ranges], digest.hexdigest())


def check_dialect(source: Path, ranges: Sequence[ByteRange], dialect: Dialect) -> None:
    """Raise InvalidRequest (ambiguous_delimiter) if a file has another dialect without some ranges.

    source: may be the beginning of the file. dialect: of the whole file.
    """
    shortened, head = source.with_name(f"{source.name}-shortened"), bytearray()
    for block in remaining_blocks(source, [one for one in ranges if one[1] <= source.stat().st_size]):
        head += block
        if len(head) >= HEAD_BYTES:
            break
    shortened.write_bytes(head)
    if find_dialect(shortened) != dialect:
        message = "Without these rows, it would not be clear which delimiter the CSV has. Nothing was deleted. "
        raise InvalidRequest(f"{message}Upload a whole CSV instead.", code="ambiguous_delimiter")


COMMANDS = {kind.__name__: kind for kind in (CheckImages, WriteRows, LocateRows)}
