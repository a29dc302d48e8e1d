"""The limit on idle connections: which hosts' connections stay open for their next image.

The HTTP client limits the connections in use, not the idle ones. With one image on each of ten thousand hosts, idle
connections would use up the file descriptors.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_HOSTS = 128
# As long as a connection may be idle in the client's pool.
REMEMBERED_SECONDS = 30.0


class KeptConnections:
    """The hosts whose connections are kept: the first MAX_HOSTS of the recently used ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: returns seconds."""
        self._clock = clock
        self._used: OrderedDict[str, float] = OrderedDict()

    def keeps(self, origin: str) -> bool:
        """Return whether the connection that is about to be used stays open afterwards."""
        now = self._clock()
        while self._used and next(iter(self._used.values())) < now - REMEMBERED_SECONDS:
            self._used.popitem(last=False)
        if origin not in self._used and len(self._used) >= MAX_HOSTS:
            return False
        self._used[origin] = now
        self._used.move_to_end(origin)
        return True
