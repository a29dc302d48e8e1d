"""The commands of a content process: files in, files out, so that nothing large is held in memory.

A command and its answer travel as JSON, so paths are strings.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from catalog.content.cell_text import is_image_url
from gateway.content.csv_format import copy_rows
from gateway.content.file_kind import refuse_other_kinds
from gateway.images import commands as image_commands
from gateway.images.commands import CheckedImages, LocatedRows, WrittenRows
from servicekit.errors import InvalidRequest, TooLarge
from servicekit.quantities import size_in_words

CHUNK_BYTES = 1024 * 1024
FIELD = "content"


@dataclass(frozen=True)
class Extracted:
    """A decoded body. fields: the names of its other fields."""

    fields: list[str]


@dataclass(frozen=True)
class StagedRows:
    """Rows that are ready for Postgres.

    digest: the SHA-256 of the CSV, in hexadecimal. warnings: sentences for the uploader. row_lines: whether each
    line of the CSV is a record.
    """

    row_count: int
    digest: str
    warnings: list[str]
    row_lines: bool


@dataclass(frozen=True)
class ParsedPage:
    """A page of HeidICON's objects. total: the number of objects on all pages, as this page reports it."""

    total: int


@dataclass(frozen=True)
class JoinedPages:
    """The CSV of all pages. objects: the number of distinct objects in it."""

    objects: int


Answer = TypeVar(
    "Answer",
    bound="Extracted | StagedRows | ParsedPage | JoinedPages | CheckedImages | WrittenRows | LocatedRows",
    covariant=True,
)


class Command(Protocol[Answer]):
    """A command. Its fields are its arguments."""

    @property
    def answer(self) -> type[Answer]:
        """The class of the answer."""
        ...

    def run(self) -> Answer:
        """Do the work, in the content process."""
        ...


@dataclass(frozen=True)
class ExtractContent:
    """Decode the base64 under `content` in a JSON body, and write the bytes to a file."""

    answer: ClassVar[type[Extracted]] = Extracted

    body: str
    target: str
    max_bytes: int

    def run(self) -> Extracted:
        """Raises InvalidRequest (invalid_json, content_missing, invalid_base64), and TooLarge over `max_bytes`."""
        # Imported here, so that other uploads do not load pydantic, which takes longer than the rest of the start.
        from gateway.http.base64_body import Base64Body

        with Path(self.body).open("rb") as source, Path(self.target).open("wb") as output:

            def write(data: bytes) -> None:
                output.write(data)
                if output.tell() > self.max_bytes:
                    raise TooLarge(f"The CSV may have at most {size_in_words(self.max_bytes)}.")

            content = Base64Body(write, field=FIELD)
            while chunk := source.read(CHUNK_BYTES):
                content.feed(chunk)
            fields = content.finish()
        if fields.get(FIELD) is None:
            raise InvalidRequest(f"{FIELD} is missing. Send the CSV as base64.", code="content_missing")
        return Extracted([name for name in fields if name != FIELD])


@dataclass(frozen=True)
class StageCsv:
    """Validate a CSV and write its rows for Postgres' COPY."""

    answer: ClassVar[type[StagedRows]] = StagedRows

    source: str
    target: str
    max_rows: int
    allow_empty: bool = False

    def run(self) -> StagedRows:
        """Raises InvalidRequest (invalid_csv, empty_content), and TooLarge over `max_rows`."""
        source = Path(self.source)
        refuse_other_kinds(source)
        summary = copy_rows(source, Path(self.target), max_rows=self.max_rows)
        if not summary.row_count and not self.allow_empty:
            problem = "has no row with an image" if source.stat().st_size else "is empty: it has 0 bytes"
            message = f"The CSV {problem}. The content stays as it was. To remove all images, add ?allow_empty=true."
            raise InvalidRequest(message, code="empty_content")
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StagedRows(summary.row_count, digest, summary.warnings, summary.row_lines)


@dataclass(frozen=True)
class ParsePage:
    """Parse a page of HeidICON's objects and write id and image URLs of each as a line of JSON."""

    answer: ClassVar[type[ParsedPage]] = ParsedPage

    body: str
    target: str
    limit: int

    def run(self) -> ParsedPage:
        """Raises UpstreamFailed (heidicon_bad_answer)."""
        # Imported here, because it loads pydantic, too.
        from servicekit.heidicon.schema import parse_page

        page = parse_page(Path(self.body).read_bytes(), self.limit, is_image_url)
        with Path(self.target).open("w", encoding="utf-8") as output:
            output.writelines(json.dumps(entry) + "\n" for entry in page.objects)
        return ParsedPage(page.total)


@dataclass(frozen=True)
class JoinPages:
    """Write the CSV of parsed pages, with each object once."""

    answer: ClassVar[type[JoinedPages]] = JoinedPages

    pages: list[str]
    target: str
    instance: str

    def run(self) -> JoinedPages:
        """Write the CSV."""
        seen: set[int] = set()
        with Path(self.target).open("w", encoding="utf-8", newline="") as output:
            writer = csv.writer(output, lineterminator="\n")
            for identifier, urls in _objects(self.pages):
                if identifier in seen:
                    continue
                seen.add(identifier)
                writer.writerows((url, f"{self.instance}/#/detail/{identifier}") for url in urls)
        return JoinedPages(len(seen))


UPLOAD_COMMANDS = {kind.__name__: kind for kind in (ExtractContent, StageCsv, ParsePage, JoinPages)}
COMMANDS = {**UPLOAD_COMMANDS, **image_commands.COMMANDS}


def _objects(pages: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for page in pages:
        with Path(page).open(encoding="utf-8") as lines:
            for line in lines:
                identifier, urls = json.loads(line)
                yield identifier, urls
