"""CORS: which web origins may call the API from a browser."""

from collections.abc import Iterable

from aiohttp import web

ALLOWED_HEADERS = "API-Key, Content-Type, X-Request-Id"
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
            response.headers.add("Vary", "Origin")
            origin = request.headers.get("Origin")
            if origin not in self._origins:
                return
            response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS

    def preflight(self, methods: Iterable[str]) -> web.Response:
        """Return the answer to OPTIONS on a route with these methods."""
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
