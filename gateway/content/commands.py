"""What a content process is asked to do: files in, files out, so that nothing large is held in memory."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gateway.content.csv_format import copy_rows
from gateway.http.base64_body import Base64Body
from servicekit.errors import InvalidRequest, TooLarge

PIECE_BYTES = 1024 * 1024
FIELD = "content"

Answer = dict[str, object]


def extract_content(body: Path, target: Path, *, max_bytes: int) -> Answer:
    """Writes the bytes whose base64 a JSON body has under `content`.

    Raises InvalidRequest: invalid_json, content_missing, invalid_base64; TooLarge for more than `max_bytes`.
    """
    with body.open("rb") as source, target.open("wb") as output:

        def write(data: bytes) -> None:
            output.write(data)
            if output.tell() > max_bytes:
                raise TooLarge(f"The CSV is larger than {max_bytes} bytes.")

        content = Base64Body(write, field=FIELD)
        while piece := source.read(PIECE_BYTES):
            content.feed(piece)
        if content.finish().get(FIELD) is None:
            raise InvalidRequest(f"The field {FIELD} is missing.", code="content_missing")
    return {}


def stage_csv(source: Path, target: Path, *, max_rows: int) -> Answer:
    """Checks a CSV and writes its rows for Postgres' COPY; gives `row_count` and the `digest` of the bytes.

    Raises InvalidRequest, invalid_csv; TooLarge.
    """
    summary = copy_rows(source, target, max_rows=max_rows)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"row_count": summary.row_count, "digest": digest}


def keep_page(body: Path, target: Path, *, limit: int) -> Answer:
    """Writes the objects of one page of HeidICON's answer as JSON lines; gives `total` and `count`.

    Raises UpstreamFailed, heidicon_bad_answer.
    """
    # Imported here, because only imports from HeidICON should pay for loading pydantic: 0.1 s and 8 MiB.
    from gateway.heidicon.schema import parse_page

    page = parse_page(body.read_bytes(), limit)
    with target.open("w", encoding="utf-8") as output:
        output.writelines(json.dumps(entry) + "\n" for entry in page.objects)
    return {"total": page.total, "count": len(page.objects)}


def join_pages(pages: Iterable[Path], target: Path, *, instance: str) -> Answer:
    """Writes the CSV of the kept pages, each object once; gives `objects`, how many different ones there are."""
    seen: set[int] = set()
    with target.open("w", encoding="utf-8", newline="") as output:
        writer = csv.writer(output, lineterminator="\n")
        for identifier, urls in _objects(pages):
            if identifier in seen:
                continue
            seen.add(identifier)
            writer.writerows((url, f"{instance}/#/detail/{identifier}") for url in urls)
    return {"objects": len(seen)}


def _objects(pages: Iterable[Path]) -> Iterator[tuple[int, list[str]]]:
    for page in pages:
        with page.open(encoding="utf-8") as lines:
            for line in lines:
                identifier, urls = json.loads(line)
                yield identifier, urls


def _paths(values: object) -> list[Path]:
    return [Path(value) for value in values] if isinstance(values, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


# A command's arguments are what JSON can say.
COMMANDS: dict[str, Callable[[Answer], Answer]] = {
    "extract_content": lambda given: extract_content(
        Path(str(given["body"])), Path(str(given["target"])), max_bytes=_number(given["max_bytes"])
    ),
    "stage_csv": lambda given: stage_csv(
        Path(str(given["source"])), Path(str(given["target"])), max_rows=_number(given["max_rows"])
    ),
    "keep_page": lambda given: keep_page(
        Path(str(given["body"])), Path(str(given["target"])), limit=_number(given["limit"])
    ),
    "join_pages": lambda given: join_pages(
        _paths(given["pages"]), Path(str(given["target"])), instance=str(given["instance"])
    ),
}
