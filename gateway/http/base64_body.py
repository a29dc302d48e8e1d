"""Decode base64 in a request's body while it arrives: the whole body, or one string field of a JSON object.

A body can be hundreds of megabytes long, so it is never held in memory as a whole. In a JSON body, all text around the
base64 is kept and parsed at the end, which finds malformed JSON wherever it is.
"""

import binascii
import json
import re
from collections.abc import Callable

from gateway.http.json_object import JsonObject, kind_of, parse_object
from servicekit.errors import InvalidRequest

# The most that a JSON body may have besides the base64.
MAX_OTHER_BYTES = 64 * 1024

STRUCTURE = re.compile(rb'["{}\[\],:]')
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
BACKSLASH = b"\\"
UNICODE_ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
MAX_ESCAPE_BYTES = 6

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WEB_ADDRESS = re.compile(rb"\s*https?://", re.IGNORECASE)
# RFC 2397: the parameters of the media type may be quoted strings with commas in them.
DATA_URL = re.compile(rb'\s*data:(?:"[^"]*"|[^,])*+,', re.IGNORECASE)
BASE64_MARK = re.compile(rb";\s*base64\s*,\Z", re.IGNORECASE)
MAX_DATA_URL_HEAD = 2048

WHITESPACE = b" \t\r\n"
URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class Base64Body:
    """Decode the base64 of one body, piece by piece.

    The base64 may be in the standard or the URL-safe alphabet, with or without padding, contain white space, or be a
    data URL.
    """

    def __init__(self, write: Callable[[bytes], None], *, field: str | None = None) -> None:
        """write: receives the decoded bytes. field: the JSON field that holds the base64; None: the body is base64."""
        self._write = write
        self._field = field
        self._in_base64 = field is None
        # JSON: the text to parse at the end, an unfinished string after it, and where in the object that is.
        self._other = bytearray()
        self._unfinished = b""
        self._depth = 0
        self._expects_key = False
        self._value_is_base64 = False
        self._found = False
        # Base64: text that is not yet complete enough to decode, and the characters of an incomplete group of four.
        self._pending = b""
        self._at_head = True
        self._group = b""
        self._padded = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises InvalidRequest (invalid_json, invalid_base64) and what `write` raises."""
        if self._in_base64:
            self._feed_base64(piece)
        else:
            self._feed_json(piece)

    def finish(self) -> JsonObject:
        """Return the JSON object with "" in place of the base64, or an empty object if the body itself was base64.

        A field that is missing or null stays so. Raises InvalidRequest (invalid_json, invalid_base64) and what `write`
        raises.
        """
        if self._field is None:
            self._decode(self._pending, last=True)
            return {}
        body = parse_object(bytes(self._other) + self._unfinished)
        if body.get(self._field) not in (None, ""):
            message = f"The field {self._field} must be a string in base64, not {kind_of(body[self._field])}."
            raise InvalidRequest(message, code="invalid_base64")
        return body

    def _feed_json(self, piece: bytes) -> None:
        text, position = self._unfinished + piece, 0
        room = MAX_OTHER_BYTES - len(self._other)
        while (mark := STRUCTURE.search(text, position, room)) is not None:
            if mark[0] != b'"':
                self._follow(mark[0])
                position = mark.end()
            elif self._value_is_base64:
                self._enter_base64(text, mark.end())
                return
            elif (string := STRING.match(text, mark.start(), room)) is not None:
                self._read_key(string[0])
                position = string.end()
            else:
                break
        if len(text) > room:
            message = f"All fields other than {self._field} together may have at most {MAX_OTHER_BYTES} bytes."
            raise InvalidRequest(message, code="invalid_json")
        complete = len(text) if mark is None else mark.start()
        self._other += text[:complete]
        self._unfinished = text[complete:]

    def _follow(self, mark: bytes) -> None:
        if mark in b"{[":
            self._depth += 1
        elif mark in b"}]":
            self._depth -= 1
        self._expects_key = mark in b"{,"
        self._value_is_base64 = self._value_is_base64 and mark == b":"

    def _read_key(self, string: bytes) -> None:
        if self._depth != 1 or not self._expects_key or not self._is_field(string):
            return
        if self._found:
            raise InvalidRequest(f"The field {self._field} occurs more than once.", code="invalid_json")
        self._found = self._value_is_base64 = True

    def _is_field(self, key: bytes) -> bool:
        try:
            return bool(json.loads(key) == self._field)
        except ValueError:
            return False

    def _enter_base64(self, text: bytes, start: int) -> None:
        self._other += text[:start]
        self._unfinished = b""
        self._in_base64, self._value_is_base64 = True, False
        self._feed_base64(text[start:])

    def _feed_base64(self, piece: bytes) -> None:
        text = self._pending + piece
        end = -1 if self._field is None else _closing_quote(text)
        if end >= 0:
            self._decode(text[:end], last=True)
            self._in_base64 = False
            self._other += b'"'
            self._feed_json(text[end + 1 :])
            return
        complete = self._complete(text)
        self._pending = text[complete:]
        if complete:
            self._decode(text[:complete], last=False)

    def _complete(self, text: bytes) -> int:
        """Return how much of the text can be decoded without what follows: no half of a head or of an escape."""
        if self._at_head and len(text) < MAX_DATA_URL_HEAD:
            return 0
        if self._field is None:
            return len(text)
        escape = text.rfind(BACKSLASH, 1 - MAX_ESCAPE_BYTES)
        return len(text) if escape < 0 else escape

    def _decode(self, text: bytes, *, last: bool) -> None:
        if self._field is not None and BACKSLASH in text:
            text = self._unescape(text)
        if self._at_head:
            self._at_head = False
            text = self._without_head(text)
        text = self._group + text.translate(URL_SAFE_TO_STANDARD, WHITESPACE)
        if text and self._padded:
            raise self._invalid()
        whole = len(text) if last else len(text) - len(text) % 4
        text, self._group = text[:whole], text[whole:]
        self._padded = text.endswith(b"=")
        if last and not self._padded:
            text += b"=" * (-len(text) % 4)
        try:
            decoded = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            raise self._invalid() from None
        self._write(decoded)

    def _unescape(self, text: bytes) -> bytes:
        """Resolve the escapes of a JSON string that may occur in base64 and in the head of a data URL."""
        for escape in (rb"\n", rb"\r", rb"\t"):
            text = text.replace(escape, b"")
        text = text.replace(rb"\/", b"/").replace(rb"\"", b'"')
        text = UNICODE_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
        if BACKSLASH in text:
            raise self._invalid()
        return text

    def _without_head(self, text: bytes) -> bytes:
        text = text.removeprefix(BYTE_ORDER_MARK)
        if WEB_ADDRESS.match(text):
            message = f"{self._subject} is a URL. Send the file itself, as base64 or as a data URL."
            raise InvalidRequest(message, code="invalid_base64")
        head = DATA_URL.match(text[:MAX_DATA_URL_HEAD])
        if head is None:
            return text
        if BASE64_MARK.search(head[0]) is None:
            message = f"{self._subject} is a data URL without base64. Expected data:<media type>;base64,<data>."
            raise InvalidRequest(message, code="invalid_base64")
        return text[head.end() :]

    def _invalid(self) -> InvalidRequest:
        message = f"{self._subject} is not valid base64. Send the file as base64 or as a data URL."
        return InvalidRequest(message, code="invalid_base64")

    @property
    def _subject(self) -> str:
        return "The body" if self._field is None else f"The field {self._field}"


def _closing_quote(text: bytes) -> int:
    """Return the position of the first quote that is not escaped; -1: there is none."""
    quote = text.find(b'"')
    while quote >= 0:
        start = quote
        while start > 0 and text[start - 1] == BACKSLASH[0]:
            start -= 1
        if (quote - start) % 2 == 0:
            return quote
        quote = text.find(b'"', quote + 1)
    return -1
