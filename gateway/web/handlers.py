"""The web page over HTTP."""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway.http.asset import CHECK_EACH_TIME
from gateway.web.assets import Site

# Each version of the files has its own path.
ASSET_PATH = r"/web/{version}/{name:.+}"
# Pages of other sites name it, so its path never changes.
EMBED_PATH = "/embed.js"
EMBED_FILE = "embed.js"
FOREVER = "public, max-age=31536000, immutable"
AN_HOUR = "public, max-age=3600"
PAGE_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
}


def policy(*, serves_thumbnails: bool) -> str:
    """Return the Content-Security-Policy of the page.

    Images of results come from any host, unless we serve thumbnails of them. Pictures that a visitor chose are blobs.
    Everything else is ours.
    """
    images = "'self' blob: data:" if serves_thumbnails else "'self' blob: data: http: https:"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src {images}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


class PageHandlers:
    """The page and its files. They need no key: the page asks for one where the API does."""

    def __init__(self, site: Site, about: Handler) -> None:
        """about: answers `GET /` to clients other than browsers."""
        self._site = site
        self._about = about
        own_policy = policy(serves_thumbnails=site.serves_thumbnails)
        self._headers = PAGE_HEADERS | {"Content-Security-Policy": own_policy}

    async def root(self, request: web.Request) -> web.StreamResponse:
        """`GET /`: the page for browsers, which ask for HTML; JSON about the service for others."""
        if "text/html" in request.headers.get(hdrs.ACCEPT, "").lower():
            response: web.StreamResponse = self._site.index.answer(request, CHECK_EACH_TIME)
            response.headers.update(self._headers)
        else:
            response = await self._about(request)
        response.headers[hdrs.VARY] = ", ".join((hdrs.ACCEPT, hdrs.ACCEPT_ENCODING))
        return response

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """`GET /web/{version}/{name}`: a file of the page. Raises HTTPNotFound."""
        asset = self._site.assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        # During a rolling update, a page of the other version may ask: it gets what there is, and does not keep it.
        current = request.match_info["version"] == self._site.version
        return asset.answer(request, FOREVER if current else CHECK_EACH_TIME)

    async def embed(self, request: web.Request) -> web.StreamResponse:
        """`GET /embed.js`: the elements for pages of other sites."""
        response = self._site.assets[EMBED_FILE].answer(request, AN_HOUR)
        # Pages that isolate themselves load nothing from other origins without it.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response
