"""The work of a content process, as commands: files in, files out, so that nothing large is held in memory.

A command and its answer travel as JSON, so paths are text.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from gateway.content.csv_format import copy_rows
from gateway.heidicon.schema import nonsense, parse_page
from gateway.http.base64_body import Base64Body
from servicekit.errors import InvalidRequest, TooLarge

PIECE_BYTES = 1024 * 1024
FIELD = "content"


@dataclass(frozen=True)
class Done:
    """The answer of a command that has nothing to report."""


@dataclass(frozen=True)
class StagedRows:
    """Rows that are ready for Postgres. digest: the SHA-256 of the CSV, in hexadecimal."""

    row_count: int
    digest: str


@dataclass(frozen=True)
class KeptPage:
    """A page of HeidICON's answer. total: the number of objects that HeidICON reported with it."""

    total: int


@dataclass(frozen=True)
class JoinedPages:
    """objects: the number of different objects on the pages."""

    objects: int


Answer = TypeVar("Answer", bound="Done | StagedRows | KeptPage | JoinedPages", covariant=True)


class Command(Protocol[Answer]):
    """One piece of work. `answer` is the class of what `run` returns."""

    @property
    def answer(self) -> type[Answer]:
        """The class of the answer."""
        ...

    def run(self) -> Answer:
        """Do the work, in the content process."""
        ...


@dataclass(frozen=True)
class ExtractContent:
    """Decode the base64 under `content` in a JSON body, and write the bytes."""

    answer: ClassVar[type[Done]] = Done

    body: str
    target: str
    max_bytes: int

    def run(self) -> Done:
        """Raise InvalidRequest (invalid_json, content_missing, invalid_base64), or TooLarge over `max_bytes`."""
        with Path(self.body).open("rb") as source, Path(self.target).open("wb") as output:

            def write(data: bytes) -> None:
                output.write(data)
                if output.tell() > self.max_bytes:
                    raise TooLarge(f"The CSV is larger than {self.max_bytes} bytes.")

            content = Base64Body(write, field=FIELD)
            while piece := source.read(PIECE_BYTES):
                content.feed(piece)
            if content.finish().get(FIELD) is None:
                raise InvalidRequest(f"The field {FIELD} is missing.", code="content_missing")
        return Done()


@dataclass(frozen=True)
class StageCsv:
    """Check a CSV and write its rows for Postgres' COPY."""

    answer: ClassVar[type[StagedRows]] = StagedRows

    source: str
    target: str
    max_rows: int

    def run(self) -> StagedRows:
        """Raise InvalidRequest (invalid_csv), or TooLarge."""
        source = Path(self.source)
        summary = copy_rows(source, Path(self.target), max_rows=self.max_rows)
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StagedRows(summary.row_count, digest)


@dataclass(frozen=True)
class KeepPage:
    """Write the objects of one page of HeidICON's answer as JSON lines."""

    answer: ClassVar[type[KeptPage]] = KeptPage

    body: str
    target: str
    limit: int

    def run(self) -> KeptPage:
        """Raise UpstreamFailed (heidicon_bad_answer)."""
        try:
            page = parse_page(json.loads(Path(self.body).read_bytes()), self.limit)
        except (ValueError, RecursionError):
            raise nonsense("a page that is not JSON") from None
        with Path(self.target).open("w", encoding="utf-8") as output:
            output.writelines(json.dumps(entry) + "\n" for entry in page.objects)
        return KeptPage(page.total)


@dataclass(frozen=True)
class JoinPages:
    """Write the CSV of the kept pages, with each object once."""

    answer: ClassVar[type[JoinedPages]] = JoinedPages

    pages: list[str]
    target: str
    instance: str

    def run(self) -> JoinedPages:
        """Raise UpstreamFailed (heidicon_bad_answer)."""
        seen: set[int] = set()
        with Path(self.target).open("w", encoding="utf-8", newline="") as output:
            writer = csv.writer(output, lineterminator="\n")
            for identifier, urls in _objects(self.pages):
                if identifier in seen:
                    continue
                seen.add(identifier)
                try:
                    writer.writerows((url, f"{self.instance}/#/detail/{identifier}") for url in urls)
                except UnicodeEncodeError:
                    raise nonsense("a download URL that is no text") from None
        return JoinedPages(len(seen))


@dataclass(frozen=True)
class StageJoined:
    """Stage a CSV that `JoinPages` wrote. If it is wrong, HeidICON is at fault and not the caller."""

    answer: ClassVar[type[StagedRows]] = StagedRows

    source: str
    target: str
    max_rows: int

    def run(self) -> StagedRows:
        """Raise UpstreamFailed (heidicon_bad_answer), or TooLarge."""
        try:
            return StageCsv(self.source, self.target, self.max_rows).run()
        except InvalidRequest as error:
            raise nonsense(f"a download URL that is none ({error.message})") from None


COMMANDS = {kind.__name__: kind for kind in (ExtractContent, StageCsv, KeepPage, JoinPages, StageJoined)}


def _objects(pages: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for page in pages:
        with Path(page).open(encoding="utf-8") as lines:
            for line in lines:
                identifier, urls = json.loads(line)
                yield identifier, urls
