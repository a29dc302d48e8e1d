"""How much may be under way at a time, so that overload costs answers and not memory."""

import contextlib
from collections.abc import Iterator

from local_qdrant.protocol.status import exhausted


class Admission:
    """Bounds the bytes of all requests that are being carried out or wait."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0

    @contextlib.contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request of `size` bytes while the block runs. Raises `StatusError` (RESOURCE_EXHAUSTED)."""
        if self._bytes + size > self._most_bytes:
            raise exhausted("Too many requests are under way; try again later")
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
