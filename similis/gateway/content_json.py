"""Takes the base64 in `{"content": "…"}` out of a JSON body of any size, a piece at a time.

The long string is decoded as it passes. All the rest of the body, with an empty string in its place, is kept and
parsed at the end: so what is no JSON is found, whatever surrounds the content.
"""

import json
import re
from collections.abc import Callable
from enum import Enum, auto

from similis.gateway import base64_text
from similis.gateway.json_object import parse_object
from similis.servicekit.errors import InvalidRequest

FIELD = "content"
MAX_REST_BYTES = 64 * 1024

STRUCTURE = re.compile(rb'["{}\[\],:]')
STRING_SIGN = re.compile(rb'["\\]')
UNICODE_ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
LONGEST_ESCAPE = 6


class _Mode(Enum):
    STRUCTURE = auto()
    STRING = auto()
    CONTENT = auto()


class Base64Stream:
    """Decodes base64 that comes in pieces, as it stands in a JSON string."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._escaped = b""
        self._head: bytes | None = b""
        self._group = b""
        self._ended = False

    def feed(self, piece: bytes, *, last: bool = False) -> None:
        """Raises InvalidRequest, invalid_base64."""
        text = self._unescape(self._escaped + piece, last)
        if self._head is not None:
            text = self._head + text
            if len(text) < base64_text.MAX_DATA_URL_HEAD and not last:
                self._head = text
                return
            self._head = None
            text = base64_text.strip_data_url(text)
        self._decode(self._group + base64_text.normalised(text), last)

    def _unescape(self, text: bytes, last: bool) -> bytes:
        self._escaped = b""
        if b"\\" not in text:
            return text
        start = text.rfind(b"\\")
        if not last and len(text) - start < LONGEST_ESCAPE:
            text, self._escaped = text[:start], text[start:]
        for escape in (rb"\n", rb"\r", rb"\t"):
            text = text.replace(escape, b"")
        text = text.replace(rb"\/", b"/")
        text = UNICODE_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
        if b"\\" in text:
            raise base64_text.invalid()
        return text

    def _decode(self, text: bytes, last: bool) -> None:
        if text and self._ended:
            raise base64_text.invalid()
        whole = len(text) if last else len(text) - len(text) % 4
        text, self._group = text[:whole], text[whole:]
        self._ended = text.endswith(b"=")
        self._write(base64_text.decode_standard(base64_text.padded(text) if last else text))


class ContentExtractor:
    """Scans a JSON body; `write` gets the bytes that the content stands for."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._content = Base64Stream(write)
        self._mode = _Mode.STRUCTURE
        self._rest = bytearray()
        self._left = b""
        self._depth = 0
        self._key_next = False
        self._string_start = 0
        self._key = b""
        self._found = 0

    def feed(self, piece: bytes) -> None:
        """Raises InvalidRequest: invalid_json, invalid_base64."""
        piece, self._left = self._left + piece, b""
        position = 0
        steps = {_Mode.STRUCTURE: self._structure, _Mode.STRING: self._string, _Mode.CONTENT: self._in_content}
        while position < len(piece):
            position = steps[self._mode](piece, position)

    def finish(self) -> None:
        """Checks the whole. Raises InvalidRequest: invalid_json, content_missing."""
        if self._mode is not _Mode.STRUCTURE or self._left:
            raise InvalidRequest("The body is not JSON in UTF-8.", code="invalid_json")
        body = parse_object(bytes(self._rest))
        if FIELD not in body:
            raise InvalidRequest("The field content is missing.", code="content_missing")
        if self._found != 1 or body[FIELD] != "":
            raise InvalidRequest("The field content is not one string of base64.", code="invalid_base64")

    def _keep(self, text: bytes) -> None:
        self._rest += text
        if len(self._rest) > MAX_REST_BYTES:
            raise InvalidRequest("The body has large fields beside content.", code="invalid_json")

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
        is_content = self._depth == 1 and not self._key_next and _is_field(self._key)
        self._mode = _Mode.CONTENT if is_content else _Mode.STRING
        self._found += is_content
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

    def _in_content(self, piece: bytes, position: int) -> int:
        end = piece.find(b'"', position)
        if self._found > 1:
            raise InvalidRequest("The field content stands there twice.", code="invalid_json")
        if end < 0:
            self._content.feed(piece[position:])
            return len(piece)
        self._content.feed(piece[position:end], last=True)
        self._keep(b'"')
        self._mode = _Mode.STRUCTURE
        return end + 1


def _is_field(key: bytes) -> bool:
    try:
        return bool(json.loads(key) == FIELD)
    except ValueError:
        return False
