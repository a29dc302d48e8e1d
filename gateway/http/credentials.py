"""Credentials in image URLs (`https://user:password@host/…`) are hidden from callers without a key."""

import re
from collections.abc import AsyncIterator, Callable

from aiohttp import web

# Whether the caller may see credentials, because it has sent a valid key.
TRUSTED = web.RequestKey("trusted", bool)

# What may be a user info (RFC 3986, 3.2.1) and a host: no slash, question mark or fragment. In JSON, quotes and
# backslashes in it are escaped; in CSV, quotes are doubled.
AUTHORITY = re.compile(rb'(https?://)((?:\\["\\]|""|[^/?#"\r\n])*+)', re.IGNORECASE)
# A line of a CSV that is longer is passed on in pieces.
LONGEST_LINE = 256 * 1024


def without_credentials(text: bytes) -> bytes:
    """Return a text without the user info of the URLs in it."""
    return _replaced(text, lambda _: b"")


async def with_masked_credentials(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a file with asterisks in place of the user info of its URLs. The length of the file stays the same."""
    rest = b""
    async for piece in pieces:
        # A URL may be spread over two pieces, but no line break is in the middle of it.
        head, line_break, rest = (rest + piece).rpartition(b"\n")
        if len(rest) > LONGEST_LINE:
            head, line_break, rest = head + line_break + rest, b"", b""
        if head or line_break:
            yield _masked(head + line_break)
    if rest:
        yield _masked(rest)


def _masked(text: bytes) -> bytes:
    return _replaced(text, lambda user_info: b"*" * len(user_info) + b"@")


def _replaced(text: bytes, replacement: Callable[[bytes], bytes]) -> bytes:
    def replace(found: re.Match[bytes]) -> bytes:
        # The last "@" ends the user info.
        user_info, at, host = found[2].rpartition(b"@")
        return found[1] + replacement(user_info) + host if at else found[0]

    return AUTHORITY.sub(replace, text) if b"@" in text else text
