"""CORS: which web origins may call the API from a browser."""

import re
from collections.abc import Iterable

from aiohttp import web

ALLOWED_HEADERS = "API-Key, Content-Type, X-Request-Id"
# A list of names, as browsers send it.
HEADER_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*", re.ASCII)
EXPOSED_HEADERS = "Content-Disposition, Retry-After, X-Request-Id"
PREFLIGHT_SECONDS = 600


class Cors:
    """Add the headers that let pages of other origins read an answer."""

    def __init__(self, origins: frozenset[str]) -> None:
        """origins: such as "https://example.org"; "*" allows all."""
        self._origins = origins

    def allow(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add the headers that every answer needs."""
        if "*" in self._origins:
            response.headers["Access-Control-Allow-Origin"] = "*"
        else:
            response.headers["Vary"] = ", ".join([*response.headers.getall("Vary", []), "Origin"])
            origin = request.headers.get("Origin")
            if origin not in self._origins:
                return
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS

    def preflight(self, request: web.BaseRequest, methods: Iterable[str]) -> web.Response:
        """Return the answer to OPTIONS on a route with these methods.

        Whatever header a page asks for is allowed. The key is no cookie, so other headers give a page no more rights.
        """
        allowed = ", ".join(sorted(methods))
        asked = request.headers.get("Access-Control-Request-Headers", "").strip()
        return web.Response(
            status=204,
            headers={
                "Allow": allowed,
                "Access-Control-Allow-Methods": allowed,
                "Access-Control-Allow-Headers": asked if HEADER_NAMES.fullmatch(asked) else ALLOWED_HEADERS,
                "Vary": "Access-Control-Request-Headers",
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )
