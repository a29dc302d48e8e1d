"""Which pages of other origins may call (CORS)."""

from collections.abc import Iterable

from aiohttp import web

ALLOWED_HEADERS = "API-Key, Content-Type, X-Request-Id"
EXPOSED_HEADERS = "Content-Disposition, Retry-After, X-Request-Id"
PREFLIGHT_SECONDS = 600


class Cors:
    """Adds the headers by which a browser lets a page read an answer."""

    def __init__(self, origins: frozenset[str]) -> None:
        """origins: "https://example.org"; "*" for all."""
        self._origins = origins

    def allow(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Adds what any answer needs."""
        if "*" in self._origins:
            response.headers["Access-Control-Allow-Origin"] = "*"
        else:
            response.headers.add("Vary", "Origin")
            origin = request.headers.get("Origin")
            if origin not in self._origins:
                return
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS

    def preflight(self, methods: Iterable[str]) -> web.Response:
        """The answer to OPTIONS on a route with these methods."""
        allowed = ", ".join(sorted(methods))
        return web.Response(
            status=204,
            headers={
                "Allow": allowed,
                "Access-Control-Allow-Methods": allowed,
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )
