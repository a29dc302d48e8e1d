"""Answers to successful requests: JSON, and CSV downloads."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from aiohttp import web

from gateway.http.credentials import TRUSTED, with_masked_credentials
from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A client that takes nothing for this long is considered gone.
STALLED_SECONDS = 30.0
# What is handed to a connection at a time, so that no more than this and as much again waits for a slow client.
WRITE_BYTES = 64 * 1024
# RFC 9110: what a parameter of a header may contain without quotes.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)
# Spreadsheets run a cell that begins like this as a formula. They show one with an apostrophe before it as text.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
UNSAFE_IN_FILE_NAMES = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def data(body: Mapping[str, object] | Sequence[object], *, warnings: Sequence[str] = ()) -> web.Response:
    """Return an answer with data. warnings: sentences for people, which an object has if there are any."""
    if warnings and isinstance(body, Mapping):
        body = {**body, "warnings": list(warnings)}
    return web.Response(
        body=json.dumps(body, ensure_ascii=False).encode("utf-8"), content_type="application/json", charset="utf-8"
    )


def push(message: str, *, warnings: Sequence[str] = (), **fields: object) -> web.Response:
    """Return an answer that says what was done, with additional fields."""
    return data({**fields, "message": message, "message_type": "push"}, warnings=warnings)


def timestamp(time: datetime | None) -> str | None:
    """Return a time as clients get it: ISO 8601 in UTC, in whole seconds, with Z."""
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def prefers_csv(request: web.Request) -> bool:
    """Return whether a request accepts CSV (RFC 9110, 12.5.1), and JSON not more gladly."""
    weights: dict[str, float] = {}
    for part in ",".join(request.headers.getall("Accept", [])).lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weights[kind] = next((_weight(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    json_weight = next((weights[kind] for kind in ("application/json", "application/*", "*/*") if kind in weights), 0.0)
    return weights.get("text/csv", 0.0) > 0 and weights["text/csv"] >= json_weight


def _weight(text: str) -> float:
    return float(text) if WEIGHT.fullmatch(text) else 0.0


async def send_csv(
    request: web.Request, name: str, pieces: AsyncIterator[bytes], *, size: int | None = None
) -> web.StreamResponse:
    """Answer with a CSV file, one piece at a time, so that it is never in memory as a whole. HEAD gets no pieces.

    name: of the file, without extension. Callers without a key see no credentials in it. size: of all pieces, in bytes;
    None if it is not known. An error before the first piece is raised; a later one closes the connection.
    """
    if not request[TRUSTED]:
        pieces = with_masked_credentials(pieces)
    response = web.StreamResponse(headers={"Content-Disposition": attachment(name, "csv")})
    response.content_type, response.charset = "text/csv", "utf-8"
    response.content_length = size
    # Before the status is sent, so that the answer can still be a 503 if the database is down.
    first = await anext(pieces, b"")
    await response.prepare(request)
    if request.method != "HEAD":
        await _send(request, response, first, pieces)
    return response


async def table(header: Sequence[str], pages: AsyncIterable[Sequence[Sequence[str]]]) -> AsyncIterator[bytes]:
    """Yield a CSV in pieces, one for each page of rows. Cells that a spreadsheet would run have an apostrophe."""
    head = _csv([header])
    async for rows in pages:
        yield head + _csv(rows)
        head = b""
    if head:
        yield head


async def _send(request: web.Request, response: web.StreamResponse, first: bytes, pieces: AsyncIterator[bytes]) -> None:
    piece = first
    try:
        while piece:
            for start in range(0, len(piece), WRITE_BYTES):
                async with asyncio.timeout(STALLED_SECONDS):
                    await response.write(piece[start : start + WRITE_BYTES])
            piece = await anext(pieces, b"")
    except (ServiceError, TimeoutError) as error:
        # The status was sent already. Only a broken connection still tells the client that the file is incomplete.
        log.warning("download_aborted", error=repr(error))
        if request.transport is not None:
            request.transport.abort()


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_as_text(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8")


def _as_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def attachment(name: str, extension: str) -> str:
    """Return a Content-Disposition (RFC 6266) with the file's name: in ASCII, and exact if that differs (RFC 5987)."""
    safe = name.translate(UNSAFE_IN_FILE_NAMES).strip(" .") or "_"
    file_name = f"{safe}.{extension}"
    plain = "".join(character if character.isascii() and character != "%" else "_" for character in file_name)
    header = f"attachment; filename={plain}" if TOKEN.fullmatch(plain) else f'attachment; filename="{plain}"'
    return header if plain == file_name else f"{header}; filename*=UTF-8''{quote(file_name, safe='')}"
