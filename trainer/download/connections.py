"""Which hosts' connections stay open for their next image.

A client bounds the connections that it uses, not those that wait. With an image on each of ten thousand hosts the
waiting ones would take every file descriptor that there is.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_HOSTS = 128
# For as long a connection may wait in the client's pool.
REMEMBERED_SECONDS = 30.0


class KeptConnections:
    """The hosts whose connections are kept: the first MAX_HOSTS of those that were asked lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: gives seconds."""
        self._clock = clock
        self._asked: OrderedDict[str, float] = OrderedDict()

    def keeps(self, origin: str) -> bool:
        """Whether a connection to `origin`, which is asked now, stays open afterwards."""
        now = self._clock()
        while self._asked and next(iter(self._asked.values())) < now - REMEMBERED_SECONDS:
            self._asked.popitem(last=False)
        if origin not in self._asked and len(self._asked) >= MAX_HOSTS:
            return False
        self._asked[origin] = now
        self._asked.move_to_end(origin)
        return True
