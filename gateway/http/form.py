"""Multipart forms that carry one file (RFC 7578)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Never

from aiohttp import web
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from servicekit.errors import InvalidRequest

MEDIA_TYPE = "multipart/form-data"
# The most that all parts besides the file may have together, and what the headers of the parts take.
MAX_FIELD_BYTES = 64 * 1024
# The parser looks at single bytes where much resembles a boundary, so other requests get their turn in between.
SLICE_BYTES = 64 * 1024


class FileForm:
    """A form with one file. `fields` has the other parts by name once the file has been read."""

    def __init__(self, request: web.Request) -> None:
        """Raises InvalidRequest, invalid_form, if the content type has no usable boundary."""
        _, options = parse_options_header(request.headers.get("Content-Type"))
        boundary = options.get(b"boundary")
        if not boundary:
            _refuse("The Content-Type multipart/form-data has no boundary. Let your HTTP library set this header.")
        self.fields: dict[str, str] = {}
        self._header, self._value, self._disposition = b"", b"", b""
        self._part = bytearray()
        self._name = ""
        self._in_file = self._has_file = self._ended = False
        self._field_bytes = 0
        self._file = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._add_content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            _refuse("The boundary of the form is too long.")

    async def file(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the bytes of the form's only file. Raises InvalidRequest, invalid_form, and what `body` raises."""
        async for piece in body:
            for start in range(0, len(piece), SLICE_BYTES):
                self._feed(piece[start : start + SLICE_BYTES])
                if self._file:
                    yield bytes(self._file)
                    self._file.clear()
                await asyncio.sleep(0)
        if not self._ended:
            _refuse("The form is incomplete: its last boundary is missing.")
        if not self._has_file:
            _refuse("The form has no file. Send the file as a part with a file name.")

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError:
            _refuse("The body is not a valid multipart form.")

    def _begin_part(self) -> None:
        self._disposition, self._part = b"", bytearray()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.strip().lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        # Browsers send an empty name for a file that was not chosen.
        self._in_file = bool(options.get(b"filename"))
        if self._in_file and self._has_file:
            _refuse("The form has several files. Send exactly one.")
        self._has_file |= self._in_file

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file += data[start:end]
            return
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            _refuse(f"All parts of the form besides the file may have at most {MAX_FIELD_BYTES} bytes together.")
        self._part += data[start:end]

    def _end_part(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._part.decode("utf-8", "replace").strip()

    def _end(self) -> None:
        self._ended = True


def _refuse(message: str) -> Never:
    raise InvalidRequest(message, code="invalid_form")
