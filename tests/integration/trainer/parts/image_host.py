"""Hosts of images as they are met: good ones, slow ones, and ones that answer wrongly in every way."""

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
    """An encoded image, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class ImageHost:
    """A host on a loopback port. It counts what it is asked for."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        # Sides of a picture, in pixels.
        self.picture_size = 24
        # Pictures a second that are answered, others are told to wait; None: all of them.
        self.rate: int | None = None
        self._answered: Counter[int] = Counter()
        # Seconds that each picture takes.
        self.delay = 0.0
        # Pictures wait here when it is not set.
        self.open = asyncio.Event()
        self.open.set()
        self.answers: dict[str, Answer] = {}

    def url(self, path: str) -> str:
        """The URL of a path."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def picture_urls(self, count: int, first: int = 0) -> list[str]:
        """The URLs of `count` different pictures."""
        return [self.url(f"pictures/{number}/full/max/0/default.png") for number in range(first, first + count)]

    @property
    def pictures_served(self) -> Counter[str]:
        """How often each picture was asked for."""
        return Counter({path: n for path, n in self.requests.items() if path.startswith("pictures/")})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers any GET."""
        path = request.path.lstrip("/")
        self.requests[path] += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if path.startswith("pictures/"):
                if self._too_many():
                    return web.Response(status=429, headers={"Retry-After": "1"})
                await self.open.wait()
                await asyncio.sleep(self.delay)
                return web.Response(body=picture(int(path.split("/")[1]), self.picture_size), content_type="image/png")
            if path in self.answers:
                return await self.answers[path](request)
            return web.Response(status=404)
        finally:
            self.under_way -= 1

    def _too_many(self) -> bool:
        second = int(asyncio.get_running_loop().time())
        self._answered[second] += 1
        return self.rate is not None and self._answered[second] > self.rate


@asynccontextmanager
async def image_host() -> AsyncIterator[ImageHost]:
    """A host while entered."""
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
