"""A limit on the rate of each client's requests (a token bucket for each client)."""

import time
from collections import OrderedDict

from servicekit.errors import Overloaded

# How many seconds of its rate a client may use at once.
BURST_SECONDS = 5.0
# How many clients are remembered. The one that was seen longest ago is forgotten first.
REMEMBERED_CLIENTS = 10_000


class RateLimit:
    """Counts the requests of clients. per_second: of one client; 0: there is no limit."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * BURST_SECONDS)
        # What is left of each client's burst, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Count one request. Raises Overloaded, rate_limited, if the client has none left."""
        if not self._per_second:
            return
        now = time.monotonic()
        left, since = self._left.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        enough = left >= 1.0
        self._left[client] = (left - 1.0 if enough else left, now)
        if len(self._left) > REMEMBERED_CLIENTS:
            self._left.popitem(last=False)
        if not enough:
            message = f"This client exceeded its limit of {self._per_second:g} requests per second. Slow down."
            raise Overloaded(message, code="rate_limited", retry_after=(1.0 - left) / self._per_second)
