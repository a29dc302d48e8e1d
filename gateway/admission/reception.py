"""The body of a request while it arrives: how fast it comes, and whether it has to make room for another client."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp import StreamReader

from gateway.admission.client import current_client
from servicekit.errors import InvalidRequest, ServiceError

# A body that brings less than this within the time is given up: 4 KiB per second.
LEAST_BYTES, WITHIN_SECONDS = 40 * 1024, 10.0
# A body is not called slow before it had this time.
FIRST_SECONDS = 1.0

_current: ContextVar["Reception | None"] = ContextVar("reception", default=None)


class Reception:
    """The body of one request while it arrives. Sizes are of what was sent, before it is decompressed."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.is_complete = False
        self._size = self._size_lately = 0
        # How long the client was waited for, in seconds.
        self._waited = self._waited_lately = 0.0
        self._error: ServiceError | None = None
        self._reading: asyncio.Timeout | None = None
        # When the client was last asked for more, while it is waited for.
        self._asked: float | None = None

    @property
    def rate(self) -> float:
        """How many bytes per second have come so far."""
        return self._size / max(FIRST_SECONDS, self._waited_so_far())

    @property
    def is_slow(self) -> bool:
        """Whether the body comes so slowly that it would be given up."""
        known = self._waited_so_far() >= FIRST_SECONDS
        return known and not self.is_complete and self.rate < LEAST_BYTES / WITHIN_SECONDS

    def give_up(self, error: ServiceError) -> None:
        """Stop reading the body. Who reads it gets the error."""
        self._error = error
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def next_of(self, content: StreamReader, size: int) -> bytes:
        """Return the next bytes of the body, `size` at most; nothing at its end.

        Raises InvalidRequest, body_too_slow, and the error of `give_up`.
        """
        if self._error is not None:
            raise self._error
        self._asked = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, WITHIN_SECONDS - self._waited_lately)) as self._reading:
                piece = await content.read(size)
        except TimeoutError:
            if self._reading is None or not self._reading.expired():
                raise
            raise self._error or _too_slow() from None
        finally:
            self._note_wait()
        self._note(len(piece))
        return piece

    def _waited_so_far(self) -> float:
        now = 0.0 if self._asked is None else time.monotonic() - self._asked
        return self._waited + now

    def _note_wait(self) -> None:
        if self._asked is not None:
            waited = time.monotonic() - self._asked
            self._waited += waited
            self._waited_lately += waited
        self._asked = self._reading = None

    def _note(self, size: int) -> None:
        self.is_complete = not size
        self._size += size
        self._size_lately += size
        if self._size_lately >= LEAST_BYTES:
            self._size_lately, self._waited_lately = 0, 0.0


def current_reception() -> Reception | None:
    """Return the body of the current request."""
    return _current.get()


@contextmanager
def reception() -> Iterator[Reception]:
    """Let the block receive the body of a request of the current client."""
    found = Reception(current_client())
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


def _too_slow() -> InvalidRequest:
    message = (
        f"The request body arrived too slowly: less than {LEAST_BYTES // 1024} KiB in {WITHIN_SECONDS:g} seconds. "
        "Nothing was changed. Send it again over a faster connection."
    )
    return InvalidRequest(message, code="body_too_slow")
