"""Takes the base64 in one field of a JSON object, such as `{"content": "…"}`, out of a body of any size.

The long string is decoded as it passes, a piece at a time. All the rest of the body, with an empty string in its place,
is kept and parsed at the end: so what is no JSON is found, whatever surrounds the field.
"""

import json
import re
from collections.abc import Callable
from enum import Enum, auto

from gateway.http import base64_text
from gateway.http.base64_stream import Base64Stream
from gateway.http.json_object import JsonObject, parse_object
from servicekit.errors import InvalidRequest

MAX_REST_BYTES = 64 * 1024

STRUCTURE = re.compile(rb'["{}\[\],:]')
STRING_SIGN = re.compile(rb'["\\]')
BACKSLASH = b"\\"[0]


class _Mode(Enum):
    STRUCTURE = auto()
    STRING = auto()
    BASE64 = auto()


class Base64Field:
    """Scans a JSON object for a field; `write` gets the bytes that its base64 stands for."""

    def __init__(self, field: str, write: Callable[[bytes], None]) -> None:
        self._field = field
        self._base64 = Base64Stream(write, in_json=True)
        self._mode = _Mode.STRUCTURE
        self._rest = bytearray()
        self._left = b""
        self._depth = 0
        self._key_next = False
        self._string_start = 0
        self._key = b""
        self._found = 0

    def feed(self, piece: bytes) -> None:
        """Raises InvalidRequest: invalid_json, invalid_base64; and what `write` raises."""
        piece, self._left = self._left + piece, b""
        position = 0
        steps = {_Mode.STRUCTURE: self._structure, _Mode.STRING: self._string, _Mode.BASE64: self._in_base64}
        while position < len(piece):
            position = steps[self._mode](piece, position)

    def finish(self) -> JsonObject:
        """The object, with an empty string in place of the base64. Raises InvalidRequest: invalid_json, invalid_base64.

        A field that is absent, or null, is left so.
        """
        if self._mode is not _Mode.STRUCTURE or self._left:
            raise InvalidRequest("The body is not JSON in UTF-8.", code="invalid_json")
        body = parse_object(bytes(self._rest))
        value = body.get(self._field)
        if self._found and value is None:
            raise self._twice()
        if value not in (None, ""):
            raise base64_text.invalid()
        return body

    def _keep(self, text: bytes) -> None:
        self._rest += text
        if len(self._rest) > MAX_REST_BYTES:
            raise InvalidRequest(f"The body has large fields beside {self._field}.", code="invalid_json")

    def _structure(self, piece: bytes, position: int) -> int:
        match = STRUCTURE.search(piece, position)
        if match is None:
            self._keep(piece[position:])
            return len(piece)
        self._keep(piece[position : match.end()])
        self._note(match[0])
        return match.end()

    def _note(self, sign: bytes) -> None:
        if sign == b'"':
            self._begin_string()
        elif sign in b"{[":
            self._depth += 1
            self._key_next = sign == b"{"
        elif sign in b"}]":
            self._depth -= 1
            self._key_next = False
        else:
            self._key_next = sign == b","

    def _begin_string(self) -> None:
        is_base64 = self._depth == 1 and not self._key_next and self._is_field(self._key)
        self._mode = _Mode.BASE64 if is_base64 else _Mode.STRING
        self._found += is_base64
        self._string_start = len(self._rest) - 1

    def _string(self, piece: bytes, position: int) -> int:
        match = STRING_SIGN.search(piece, position)
        if match is None:
            self._keep(piece[position:])
            return len(piece)
        if match[0] == b"\\":
            end = match.end() + 1
            if end > len(piece):
                self._keep(piece[position : match.start()])
                self._left = piece[match.start() :]
                return len(piece)
            self._keep(piece[position:end])
            return end
        self._keep(piece[position : match.end()])
        self._mode = _Mode.STRUCTURE
        if self._depth == 1 and self._key_next:
            self._key = bytes(self._rest[self._string_start :])
        return match.end()

    def _in_base64(self, piece: bytes, position: int) -> int:
        if self._found > 1:
            raise self._twice()
        end = piece.find(b'"', position)
        while end >= 0 and _is_escaped(piece, position, end):
            end = piece.find(b'"', end + 1)
        if end < 0:
            # What a backslash at the end escapes is still to come.
            end = len(piece) - _is_escaped(piece, position, len(piece))
            self._base64.feed(piece[position:end])
            self._left = piece[end:]
            return len(piece)
        self._base64.feed(piece[position:end], last=True)
        self._keep(b'"')
        self._mode = _Mode.STRUCTURE
        return end + 1

    def _twice(self) -> InvalidRequest:
        return InvalidRequest(f"The field {self._field} stands there twice.", code="invalid_json")

    def _is_field(self, key: bytes) -> bool:
        try:
            return bool(json.loads(key) == self._field)
        except ValueError:
            return False


def _is_escaped(text: bytes, start: int, position: int) -> bool:
    """Whether what stands at `position` of a string that begins at `start` has a backslash of its own before it."""
    first = position
    while first > start and text[first - 1] == BACKSLASH:
        first -= 1
    return (position - first) % 2 == 1
