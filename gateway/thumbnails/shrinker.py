"""The gateway's side of the shrink processes: start them when they are needed, and kill one that takes too long."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from servicekit.download.failures import ImageFailed, Reason
from servicekit.process.child_process import ChildGone, ChildProcess
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

PROCESSES = 2
IMAGE_SECONDS = 10.0
END_SECONDS = 2.0
MODULE = "gateway.thumbnails.shrinking"


class Shrinker:
    """Makes small JPEGs of images, at most PROCESSES at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PROCESSES)
        self._idle: list[ChildProcess] = []

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Shrinker"]:
        """Make thumbnails while entered. The processes end afterwards."""
        shrinker = cls()
        try:
            yield shrinker
        finally:
            for child in shrinker._idle:
                await child.end(END_SECONDS)

    async def shrink(self, image: bytes, side: int) -> bytes:
        """Return an encoded image as a JPEG whose longer side has at most `side` pixels. Raises ImageFailed."""
        async with self._places:
            child = self._idle.pop() if self._idle else await ChildProcess.start(MODULE)
            try:
                async with asyncio.timeout(IMAGE_SECONDS):
                    found, body = await _exchange(child, image, side)
            except (ChildGone, TimeoutError) as error:
                await _stop(child)
                log.warning("shrink_process_ended", reason=type(error).__name__, image_bytes=len(image))
                raise ImageFailed(Reason.DECODE_ERROR, "Decoding the image failed or timed out.") from error
            except BaseException:
                # The process is still at work on an image that nobody wants any more.
                await asyncio.shield(_stop(child))
                raise
            self._idle.append(child)
        if "code" in found:
            raise ImageFailed(Reason(found["code"]), found["message"])
        return body


async def _exchange(child: ChildProcess, image: bytes, side: int) -> tuple[dict[str, Any], bytes]:
    child.send(json.dumps({"side": side}).encode(), image)
    await child.drain()
    header, body = await child.receive()
    found: dict[str, Any] = json.loads(header)
    return found, body


async def _stop(child: ChildProcess) -> None:
    child.kill()
    await child.end(END_SECONDS)
