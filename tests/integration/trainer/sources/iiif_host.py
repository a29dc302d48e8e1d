"""A host of manifests and collections, which tests fill, change and break."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.loopback_site import running_site

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class IiifHost:
    """A host on a loopback port. requests: how often each path was asked for; unchanged: how often it answered 304."""

    def __init__(self) -> None:
        self.port = 0
        self.documents: dict[str, object] = {}
        self.answers: dict[str, Answer] = {}
        self.requests: Counter[str] = Counter()
        self.unchanged = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def manifest(self, path: str, *images: str, **more: object) -> str:
        """Add a manifest of version 3 with a canvas for each image, and return its URL."""
        canvases = [
            {
                "type": "Canvas",
                "label": {"none": [f"p. {number}"]},
                "items": [{"items": [{"motivation": "painting", "body": {"id": image, "type": "Image"}}]}],
            }
            for number, image in enumerate(images, 1)
        ]
        label = {"en": [path]}
        self.documents[path] = {"id": self.url(path), "type": "Manifest", "label": label, "items": canvases, **more}
        return self.url(path)

    def collection(self, path: str, *members: tuple[str, str]) -> str:
        """Add a collection of version 3. members: type and URL of each."""
        items = [{"type": kind, "id": url} for kind, url in members]
        self.documents[path] = {"id": self.url(path), "type": "Collection", "items": items}
        return self.url(path)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        self.requests[path] += 1
        if path in self.answers:
            return await self.answers[path](request)
        if path not in self.documents:
            return web.Response(status=404)
        response = web.json_response(self.documents[path])
        etag = f'"{hash(response.text)}"'
        response.headers["ETag"] = etag
        if request.headers.get("If-None-Match") == etag:
            self.unchanged += 1
            return web.Response(status=304, headers={"ETag": etag})
        return response


@asynccontextmanager
async def running_host() -> AsyncIterator[IiifHost]:
    """Run an empty host on a loopback port while entered."""
    host = IiifHost()
    application = web.Application()
    application.router.add_get("/{path:.*}", host.answer)
    async with running_site(application) as host.port:
        yield host
