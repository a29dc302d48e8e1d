"""Decode base64 in a request's body while it arrives: the whole body, or string fields of a JSON object.

A body can be hundreds of megabytes long, so it is never held in memory as a whole. In a JSON body, all text around the
base64 is kept and parsed at the end, which finds malformed JSON wherever it is.
"""

import binascii
import json
import re
from collections.abc import Callable, Collection, Sequence

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gateway.http.json_object import JsonObject, kind_of, parse_object
from servicekit.errors import InvalidRequest, ServiceError, TooLarge

# The most that a JSON body may have besides the base64.
MAX_OTHER_BYTES = 64 * 1024

# A body may have one string or bracket for so many of these bytes, which is enough for all that make sense. Each takes
# 2 µs to follow.
BYTES_FOR_A_MARK = 32
# How deep objects and lists may be nested.
MAX_NESTING = 32

MARK = re.compile(rb'["{}\[\]]')
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
BACKSLASH = b"\\"
# What follows the first quote of a string.
REST_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
MAX_ESCAPE_BYTES = 6

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WEB_ADDRESS = re.compile(rb"\s*https?://", re.IGNORECASE)
# RFC 2397: the parameters of the media type may be quoted strings with commas in them.
DATA_URL = re.compile(rb'\s*data:(?:"[^"]*"|[^,])*+,', re.IGNORECASE)
BASE64_MARK = re.compile(rb";\s*base64\s*,\Z", re.IGNORECASE)
MAX_DATA_URL_HEAD = 2048

WHITESPACE = b" \t\r\n"
URL_SAFE_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# What is translated or left out. Most texts have none of them, and to look for them is faster.
NOT_PLAIN = (b"-", b"_", *(WHITESPACE[place : place + 1] for place in range(len(WHITESPACE))))
# Decodes the base64 in a JSON string five times as fast as `binascii`.
JSON_STRING = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))

# Where a field is: the keys of the objects around it, its own key last, and EACH for the elements of a list.
Path = tuple[str, ...]
EACH = "[]"


class Base64Body:
    """Decode the base64 of one body, piece by piece.

    The base64 may be in the standard or the URL-safe alphabet, with or without padding, contain white space, or be a
    data URL.
    """

    def __init__(self, write: Callable[[bytes], None], *, field: str | None = None) -> None:
        """write: receives the decoded bytes. field: the JSON field that holds the base64; None: the body is base64."""
        self._field = field
        self._text = _Base64Text(write, "The body", quoted=False)
        self._fields = Base64Fields(lambda: write, [()] if field is None else [(field,)])

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises InvalidRequest (invalid_json, invalid_base64) and what `write` raises."""
        if self._field is None:
            self._text.feed(piece)
        else:
            self._fields.feed(piece)

    def finish(self) -> JsonObject:
        """Return the JSON object with "" in place of the base64, or an empty object if the body itself was base64.

        A field that is missing or null stays so. Raises InvalidRequest (invalid_json, invalid_base64) and what `write`
        raises.
        """
        if self._field is None:
            self._text.finish()
            return {}
        body = self._fields.finish()
        if is_base64(body, self._field, self._field):
            body[self._field] = ""
        return body


class Base64Fields:
    """Decode several base64 fields of one JSON object, piece by piece, each like the body of `Base64Body`."""

    def __init__(
        self,
        begin: Callable[[], Callable[[bytes], None]],
        paths: Collection[Path],
        *,
        other_bytes: int = MAX_OTHER_BYTES,
        keeps_errors: bool = False,
    ) -> None:
        """begin: called for each field that is found; returns what receives its decoded bytes.

        paths: of the fields. other_bytes: the most that the body may have besides the base64. keeps_errors: what is
        wrong with single fields is in `errors` at the end, and not raised.
        """
        self._begin = begin
        self._paths = frozenset(paths)
        self._names = ", ".join(sorted({path[-1] for path in paths if path}))
        self._other_bytes = other_bytes
        self._keeps_errors = keeps_errors
        self.errors: dict[int, ServiceError] = {}
        # The text to parse at the end, an unfinished string after it, and the base64 that is being decoded.
        self._other = bytearray()
        self._unfinished = b""
        # What arrived after the unfinished string, and was not looked at yet.
        self._waiting = bytearray()
        self._text: _Base64Text | None = None
        self._marks = 0
        # Where in the object that is: the key, or the position in the list, at each level.
        self._place: list[str | int] = []
        self._expects_key = False
        self._value_is_base64 = False
        self._found: set[tuple[str | int, ...]] = set()
        self._count = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises InvalidRequest (invalid_json, invalid_base64) and what the writers raise."""
        if self._unfinished:
            # A string that arrives byte by byte is not searched for its end with each byte.
            self._waiting += piece
            if len(self._waiting) < len(self._unfinished):
                return
            piece = bytes(self._waiting)
            self._waiting.clear()
        self._feed_all(piece)

    def _feed_all(self, piece: bytes) -> None:
        rest: bytes | None = piece
        while rest is not None:
            rest = self._feed_json(rest) if self._text is None else self._feed_base64(self._text, rest)

    def finish(self) -> JsonObject:
        """Return the JSON object with a number, as a string, in place of each base64: "0" for the first, and so on.

        So every string at one of the paths is such a number; other values there stay. Raises InvalidRequest,
        invalid_json.
        """
        if self._waiting:
            self._feed_all(bytes(self._waiting))
        return parse_object(bytes(self._other) + self._unfinished)

    def _feed_json(self, piece: bytes) -> bytes | None:
        """Take text around base64. Return what follows the quote that begins the next base64; None: there is none."""
        text, position = self._unfinished + piece, 0
        room = self._other_bytes - len(self._other)
        while (mark := MARK.search(text, position, room)) is not None:
            self._follow_between(text[position : mark.start()])
            if mark[0] != b'"':
                self._follow(mark[0])
                position = mark.end()
            elif self._value_is_base64:
                return self._enter_base64(text, mark.end())
            elif (string := STRING.match(text, mark.start(), room)) is not None:
                self._read_key(string[0])
                position = string.end()
            else:
                break
            self._count_mark()
        else:
            self._follow_between(text[position:room])
        if len(text) > room:
            message = f"All fields other than {self._names} together may have at most {self._other_bytes} bytes."
            raise InvalidRequest(message, code="invalid_json")
        complete = len(text) if mark is None else mark.start()
        self._other += text[:complete]
        self._unfinished = text[complete:]
        return None

    def _count_mark(self) -> None:
        self._marks += 1
        if self._marks * BYTES_FOR_A_MARK > self._other_bytes:
            most = self._other_bytes // BYTES_FOR_A_MARK
            message = f"The body may have at most {most} strings, objects and lists. It has more."
            raise InvalidRequest(message, code="invalid_json")

    def _follow(self, bracket: bytes) -> None:
        if bracket in b"{[":
            if len(self._place) == MAX_NESTING:
                message = f"The body has objects or lists in more than {MAX_NESTING} levels."
                raise InvalidRequest(message, code="invalid_json")
            self._place.append("" if bracket == b"{" else 0)
        elif self._place:
            self._place.pop()
        self._expects_key = bracket == b"{"
        self._value_is_base64 = False

    def _follow_between(self, text: bytes) -> None:
        """Take what is between strings and brackets: commas, colons, numbers and names."""
        commas = text.count(b",")
        if not commas:
            return
        self._value_is_base64 = False
        if not self._place:
            return
        level = self._place[-1]
        if isinstance(level, int):
            self._place[-1] = level + commas
        else:
            self._expects_key = True

    def _read_key(self, string: bytes) -> None:
        if not self._expects_key:
            return
        self._expects_key = False
        self._place[-1] = _key(string)
        if tuple(EACH if isinstance(part, int) else part for part in self._place) not in self._paths:
            return
        place = tuple(self._place)
        if place in self._found:
            raise InvalidRequest(f"The field {_name(place)} occurs more than once.", code="invalid_json")
        self._found.add(place)
        self._value_is_base64 = True

    def _enter_base64(self, text: bytes, start: int) -> bytes:
        self._other += text[:start] + b"%d" % self._count
        self._count += 1
        self._unfinished, self._value_is_base64 = b"", False
        subject = f"The field {_name(tuple(self._place))}"
        self._text = _Base64Text(self._begin(), subject, quoted=True, keeps_error=self._keeps_errors)
        return text[start:]

    def _feed_base64(self, text: "_Base64Text", piece: bytes) -> bytes | None:
        rest = text.feed(piece)
        if rest is not None:
            if text.error is not None:
                self.errors[self._count - 1] = text.error
            self._text = None
            self._other += b'"'
        return rest


class _Base64Text:
    """Decode one text in base64, piece by piece."""

    def __init__(
        self, write: Callable[[bytes], None], subject: str, *, quoted: bool, keeps_error: bool = False
    ) -> None:
        """subject: what messages call the text. quoted: it is a JSON string, whose first quote has been read.

        keeps_error: what is wrong with the text is in `error` instead of raised, and the rest of the text is ignored.
        """
        self._write = write
        self._subject = subject
        self._quoted = quoted
        self._keeps_error = keeps_error
        self.error: ServiceError | None = None
        # Text that is not yet complete enough to decode, and the characters of an incomplete group of four.
        self._pending = b""
        self._at_head = True
        self._group = b""
        self._padded = False

    def feed(self, piece: bytes) -> bytes | None:
        """Take the next piece. Return what follows the text; None while it goes on. Raises as `Base64Body.feed`."""
        text = self._pending + piece
        end = _closing_quote(text) if self._quoted else -1
        if end >= 0:
            self._decode(text[:end], last=True)
            return text[end + 1 :]
        complete = self._complete(text)
        self._pending = text[complete:]
        if complete:
            self._decode(text[:complete], last=False)
        return None

    def finish(self) -> None:
        """Decode the end of a text without quotes. Raises as `Base64Body.feed`."""
        self._decode(self._pending, last=True)

    def _complete(self, text: bytes) -> int:
        """Return how much of the text can be decoded without what follows: no half of a head or of an escape."""
        if self._at_head and len(text) < MAX_DATA_URL_HEAD:
            return 0
        if not self._quoted:
            return len(text)
        escape = text.rfind(BACKSLASH, 1 - MAX_ESCAPE_BYTES)
        return len(text) if escape < 0 else escape

    def _decode(self, text: bytes, *, last: bool) -> None:
        if self.error is not None:
            return
        try:
            self._write_decoded(text, last=last)
        except (InvalidRequest, TooLarge) as error:
            if not self._keeps_error:
                raise
            self.error = error

    def _write_decoded(self, text: bytes, *, last: bool) -> None:
        if self._quoted and BACKSLASH in text:
            text = self._unescape(text)
        if self._at_head:
            self._at_head = False
            text = self._without_head(text)
        if any(character in text for character in NOT_PLAIN):
            text = text.translate(URL_SAFE_TO_STANDARD, WHITESPACE)
        text = self._group + text
        if text and self._padded:
            raise self._invalid()
        whole = len(text) if last else len(text) - len(text) % 4
        text, self._group = text[:whole], text[whole:]
        self._padded = text.endswith(b"=")
        if last and not self._padded:
            text += b"=" * (-len(text) % 4)
        try:
            decoded = decoded_base64(text)
        except binascii.Error:
            raise self._invalid() from None
        self._write(decoded)

    def _unescape(self, text: bytes) -> bytes:
        """Resolve the escapes of a JSON string."""
        try:
            resolved: bytes = json.loads(f'"{text.decode("latin-1")}"', strict=False).encode("latin-1")
        except ValueError:
            raise self._invalid() from None
        if BACKSLASH in resolved:
            raise self._invalid()
        return resolved

    def _without_head(self, text: bytes) -> bytes:
        text = text.removeprefix(BYTE_ORDER_MARK)
        if WEB_ADDRESS.match(text):
            message = f"{self._subject} begins with a URL. Send the file itself, as base64 or as a data URL."
            if self._subject.endswith("image"):
                message = (
                    f"{self._subject} is a URL. Send the file as base64 or as a data URL, or the URL as image_url."
                )
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


def decoded_base64(text: bytes) -> bytes:
    """Return the bytes of base64 in the standard alphabet, with padding. Raises binascii.Error."""
    # The fast decoder takes a text without padding, too. What it refuses, `binascii` may take.
    if len(text) % 4 == 0 and BACKSLASH not in text:
        try:
            return JSON_STRING.validate_json(b'"%b"' % text)
        except ValidationError:
            pass
    return binascii.a2b_base64(text, strict_mode=True)


def is_base64(found: JsonObject, field: str, name: str) -> bool:
    """Return whether a parsed object has base64 in a field; false if the field is missing or null.

    name: what messages call the field. Raises InvalidRequest, invalid_base64, if it has anything else.
    """
    value = found.get(field)
    if value is not None and not isinstance(value, str):
        message = f"The field {name} must be a string in base64, not {kind_of(value)}."
        raise InvalidRequest(message, code="invalid_base64")
    return value is not None


def _key(string: bytes) -> str:
    """Return a key of an object; an empty one if it is not valid JSON, which the end finds."""
    try:
        return str(json.loads(string))
    except ValueError:
        return ""


def _name(place: Sequence[str | int]) -> str:
    """Return what messages call a field, such as `examples[2].image`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _closing_quote(text: bytes) -> int:
    """Return the position of the first quote that is not escaped; -1: there is none."""
    quote = text.find(b'"')
    if quote < 1 or text[quote - 1] != BACKSLASH[0]:
        return quote
    rest = REST_OF_STRING.match(text)
    return -1 if rest is None else rest.end() - 1
