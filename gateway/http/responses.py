"""What a success looks like on the wire."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from urllib.parse import quote

from aiohttp import web

from servicekit.errors import ServiceError
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A client that takes nothing for this long is gone.
STALLED_SECONDS = 30.0
UNSAFE_IN_FILE_NAMES = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def data(body: object) -> web.Response:
    """An answer that is data."""
    return web.Response(
        body=json.dumps(body, ensure_ascii=False).encode("utf-8"), content_type="application/json", charset="utf-8"
    )


def push(message: str, **fields: object) -> web.Response:
    """An answer that says what was done; `fields` come with it."""
    return data({**fields, "message": message, "message_type": "push"})


async def send_csv(request: web.Request, name: str, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Answers with a CSV file of that name, a piece at a time, so that nobody holds it whole; HEAD gets no piece.

    What fails before the first piece is raised; what fails later breaks the connection off.
    """
    response = web.StreamResponse(headers={"Content-Disposition": attachment(name, "csv")})
    response.content_type, response.charset = "text/csv", "utf-8"
    # Before the status is sent, so that a database that is down can still be told.
    first = await anext(pieces, b"")
    await response.prepare(request)
    if request.method != "HEAD":
        await _send(request, response, first, pieces)
    return response


async def table(header: Sequence[str], pages: AsyncIterable[Sequence[Sequence[str]]]) -> AsyncIterator[bytes]:
    """The pieces of a CSV of these rows; the header comes with the first page."""
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
            async with asyncio.timeout(STALLED_SECONDS):
                await response.write(piece)
            piece = await anext(pieces, b"")
    except (ServiceError, TimeoutError) as error:
        # The status is sent: all that can be said is that this is not the end of the file.
        log.warning("download_broken_off", error=repr(error))
        if request.transport is not None:
            request.transport.abort()


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8")


def attachment(name: str, extension: str) -> str:
    """A Content-Disposition (RFC 6266) for a file of that name: plain where it can be, and exact (RFC 5987)."""
    safe = name.translate(UNSAFE_IN_FILE_NAMES).strip(" .") or "_"
    file_name = f"{safe}.{extension}"
    plain = "".join(character if character.isascii() and character != "%" else "_" for character in file_name)
    header = f'attachment; filename="{plain}"'
    return header if plain == file_name else f"{header}; filename*=UTF-8''{quote(file_name, safe='')}"
