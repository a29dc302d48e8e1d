"""URLs of untrusted text, requested as they are written.

Hosts that sign their URLs compare them byte for byte, so no percent-encoding is added or undone (`%2F`, `%27`, `~`).
Only what RFC 3986 does not allow in a URL is encoded, because servers refuse it: spaces, other control characters,
non-ASCII characters, `"<>\\^`{|}[]`, and a `%` that begins no encoding.
"""

import re
from urllib.parse import quote_from_bytes, urljoin, urlsplit

from yarl import URL

MAX_URL_CHARACTERS = 8000
# What RFC 3986, 3.3 and 3.4, allows in a query. A path allows the same but "?", which would have ended it.
ILLEGAL = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
# Removed at both ends, as browsers do (WHATWG URL, 4.4).
SURROUNDING = "".join(map(chr, range(0x21)))


def checked_url(text: str, *, base: URL | None = None) -> URL:
    """Return the URL to request, without its fragment, and resolved against `base` if there is one.

    Its path holds the whole request target, with the query, so that the client sends it unchanged. text: bytes that are
    not UTF-8, as in some Location headers, are surrogate escapes. Raises ValueError unless it is an http or https URL
    with a host.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise ValueError("the URL is too long")
    text = text.strip(SURROUNDING)
    try:
        text = text if base is None else _joined(base, text)
        parts = urlsplit(text)
        origin = URL(f"{parts.scheme}://{parts.netloc}")
        # Raises ValueError for an invalid name or port.
        host, _ = origin.host, origin.port
    except Exception as error:
        # The parsers raise IndexError for some texts.
        raise ValueError("the URL cannot be parsed") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("the URL is not http or https")
    if not host:
        raise ValueError("the URL has no host")
    # An empty query counts, too: it is part of what was written.
    query = f"?{parts.query}" if "?" in text.partition("#")[0] else ""
    return origin.with_path(_encoded(f"{parts.path or '/'}{query}"), encoded=True)


def _joined(base: URL, reference: str) -> str:
    if reference.startswith("/") and not reference.startswith("//"):
        # `urljoin` would remove dot segments and an empty query.
        return f"{base.origin()}{reference}"
    return urljoin(str(base), reference)


def _encoded(target: str) -> str:
    return ILLEGAL.sub(
        lambda found: quote_from_bytes(found[0], safe="").encode(), target.encode("utf-8", "surrogateescape")
    ).decode("ascii")
