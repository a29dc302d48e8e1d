"""Clients whose images took all the time that the embedder gives to one image, or ended its decoder."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from servicekit.errors import Overloaded, ServiceError

# The codes of such images.
COSTLY = ("image_too_slow", "image_crashed_decoder")
# A client may send so many of them at once, and one more after each of these times.
AT_ONCE = 3
SECONDS_FOR_ONE = 10.0
# How many clients are remembered. The one that was charged longest ago is forgotten first.
REMEMBERED_CLIENTS = 10_000


class CostlyImages:
    """Charges clients for costly images, and refuses the searches of those that have sent too many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When what a client has been charged with is paid off.
        self._paid_at: OrderedDict[str, float] = OrderedDict()

    def check(self, client: str) -> None:
        """Raise Overloaded, too_many_costly_images, if the client has sent too many."""
        owed = self._paid_at.get(client, 0.0) - self._clock()
        excess = owed - (AT_ONCE - 1) * SECONDS_FOR_ONE
        if excess > 0:
            wait = f"Try again in {math.ceil(excess)} seconds, with other images."
            message = f"Several of your images took too long to decode. {wait}"
            raise Overloaded(message, code="too_many_costly_images", retry_after=excess)

    @contextmanager
    def charging(self, client: str) -> Iterator[None]:
        """Charge the client if the block fails because of a costly image."""
        try:
            yield
        except ServiceError as error:
            if error.code in COSTLY:
                self._charge(client)
            raise

    def _charge(self, client: str) -> None:
        now = self._clock()
        self._paid_at[client] = max(now, self._paid_at.get(client, now)) + SECONDS_FOR_ONE
        self._paid_at.move_to_end(client)
        if len(self._paid_at) > REMEMBERED_CLIENTS:
            self._paid_at.popitem(last=False)
