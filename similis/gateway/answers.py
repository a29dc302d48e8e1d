"""What a success looks like on the wire."""

import csv
import io
import json
from collections.abc import AsyncIterable, Iterable, Sequence
from urllib.parse import quote

from aiohttp import web

UNSAFE_IN_FILE_NAMES = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def data(body: object) -> web.Response:
    """An answer that is data."""
    return web.Response(
        body=json.dumps(body, ensure_ascii=False).encode("utf-8"), content_type="application/json", charset="utf-8"
    )


def push(message: str, **fields: object) -> web.Response:
    """An answer that says what was done; `fields` come with it."""
    return data({**fields, "message": message, "message_type": "push"})


async def send_table(
    request: web.Request, name: str, header: Sequence[str], pages: AsyncIterable[Sequence[Sequence[str]]]
) -> web.StreamResponse:
    """Answers with a CSV file of that name, by the page, so that nobody holds it whole."""
    response = web.StreamResponse(headers={"Content-Disposition": attachment(f"{name} failures", "csv")})
    response.content_type, response.charset = "text/csv", "utf-8"
    await response.prepare(request)
    await response.write(_csv([header]))
    async for rows in pages:
        await response.write(_csv(rows))
    await response.write_eof()
    return response


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
