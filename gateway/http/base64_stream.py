"""Base64 that comes in pieces, as it stands in a body or inside of a JSON string: never held whole."""

import re
from collections.abc import Callable

from gateway.http import base64_text

UNICODE_ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
LONGEST_ESCAPE = 6


class Base64Stream:
    """Decodes pieces as they come; `write` gets the bytes that they stand for."""

    def __init__(self, write: Callable[[bytes], None], *, in_json: bool) -> None:
        """in_json: the text is the inside of a JSON string, with its escapes."""
        self._write = write
        self._in_json = in_json
        self._escaped = b""
        self._head: bytes | None = b""
        self._group = b""
        self._ended = False

    def feed(self, piece: bytes, *, last: bool = False) -> None:
        """Raises InvalidRequest, invalid_base64, and what `write` raises."""
        text = self._unescape(self._escaped + piece, last) if self._in_json else piece
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
        text = text.replace(rb"\/", b"/").replace(rb"\"", b'"')
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
