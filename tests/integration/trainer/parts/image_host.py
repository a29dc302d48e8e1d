"""An image host that tests control: good pictures, slow ones, and any other answer."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
from aiohttp import web
from PIL import Image

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def picture(number: int, size: int = 24) -> bytes:
    """Return an encoded image, a different one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class ImageHost:
    """A host on a loopback port, which counts its requests."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        # Width and height of a picture in pixels.
        self.picture_size = 24
        # Pictures served per second; further requests get a 429. None: no limit.
        self.rate: int | None = None
        self._answered: Counter[int] = Counter()
        # Seconds per picture.
        self.delay = 0.0
        # Requests for pictures wait until it is set.
        self.open = asyncio.Event()
        self.open.set()
        self.answers: dict[str, Answer] = {}

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def picture_urls(self, count: int, first: int = 0) -> list[str]:
        """Return the URLs of `count` different pictures."""
        return [self.url(f"pictures/{number}/full/max/0/default.png") for number in range(first, first + count)]

    @property
    def pictures_served(self) -> Counter[str]:
        """The number of requests for each picture, by path."""
        return Counter({path: n for path, n in self.requests.items() if path.startswith("pictures/")})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any GET request."""
        path = request.path.lstrip("/")
        self.requests[path] += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if path.startswith("pictures/"):
                if self._is_over_rate():
                    return web.Response(status=429, headers={"Retry-After": "1"})
                await self.open.wait()
                await asyncio.sleep(self.delay)
                return web.Response(body=picture(int(path.split("/")[1]), self.picture_size), content_type="image/png")
            if path in self.answers:
                return await self.answers[path](request)
            return web.Response(status=404)
        finally:
            self.under_way -= 1

    def _is_over_rate(self) -> bool:
        second = int(asyncio.get_running_loop().time())
        self._answered[second] += 1
        return self.rate is not None and self._answered[second] > self.rate


@asynccontextmanager
async def image_host() -> AsyncIterator[ImageHost]:
    """A serving host while entered."""
    host = ImageHost()
    application = web.Application()
    application.router.add_get("/{path:.*}", host.answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.port = runner.addresses[0][1]
    try:
        yield host
    finally:
        await runner.cleanup()
