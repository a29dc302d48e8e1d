"""Slots for one kind of work, shared fairly between clients, with a queue for each client.

A client may queue up to two seconds of work, and no more pieces than may wait in all, so that a burst is served. One
that asks for more is over its share: until it has kept within it for a while, its requests may wait for half the time
that one piece of work takes, and all others are refused at once. So a flood finds a short queue, and what gets through
it waits little. Other clients are not concerned: the queues take turns, and one place is kept free for them.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from gateway.admission.adaptive_limit import AdaptiveLimit
from gateway.admission.client import current_client
from servicekit.errors import Overloaded
from servicekit.request_context import remaining
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# How long the work of a client may have to wait in a burst, in seconds.
BURST_SECONDS = 2.0
# How long a client that exceeded it has to stay within its share.
CALM_SECONDS = 2.0
# The bounds of how long a client that is over its share may wait.
LONGEST_WAIT, SHORTEST_WAIT = 0.08, 0.01
# A request that has still not asked for its place after this time, because its body is slow, no longer counts as
# waiting.
ARRIVAL_SECONDS = 0.1
# A place is kept free for others if one of them was seen within this time.
OTHERS_SECONDS = 10.0
# How many clients are remembered.
REMEMBERED_CLIENTS = 1000


@dataclass(eq=False)
class _Waiting:
    """A piece of work that waits for its turn."""

    client: str
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False)
class _Arrival:
    """A request that was let in and will ask for places. counts: as one of those that wait."""

    client: str
    counts: bool = True
    has_asked: bool = False


class FairQueue:
    """Runs as many pieces of work as the limit allows, and lets clients take turns."""

    def __init__(
        self, what: str, limit: AdaptiveLimit, *, waiting: int, wait_seconds: float, of_client: int | None = None
    ) -> None:
        """what: the plural that a refusal names. waiting: the most that wait. wait_seconds: the longest wait of all.

        of_client: the most places of one client, even if it is the only one. None: all of them.
        """
        self._what = what
        self.limit = limit
        self._most_waiting = waiting
        self._wait_seconds = wait_seconds
        self._of_client = of_client
        self.running = 0
        self.waiting = 0
        self._begun = 0
        self._running_of: Counter[str] = Counter()
        self._arriving: Counter[str] = Counter()
        # In the order of their turns. No queue is empty.
        self._queues: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._over_share: dict[str, float] = {}
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._arrival: ContextVar[_Arrival | None] = ContextVar("arrival", default=None)

    def check(self, client: str) -> None:
        """Raise Overloaded if the client's next piece of work would have to wait too long, or behind too much work."""
        wait = self.expected_wait(client)
        longest = self._short_wait() if self._is_over_share(client) else BURST_SECONDS
        if not wait or (wait <= longest and not self._fills(client)):
            return
        # A client that has nothing waiting suffers from the others.
        if self._has_waiting(client) and client not in self._over_share:
            self._shorten(client)
        if self._has_waiting(client) or client in self._over_share:
            self._extend(client)
        raise self._refusal(wait)

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """Let a request in that will ask for a place, before any work is done for it.

        Raises Overloaded if it would have to wait too long.
        """
        client = current_client()
        self._note(client)
        self.check(client)
        arrival = _Arrival(client)
        self._arriving[client] += 1
        timer = asyncio.get_running_loop().call_later(ARRIVAL_SECONDS, self._arrived, arrival)
        token = self._arrival.set(arrival)
        try:
            yield
        finally:
            self._arrival.reset(token)
            timer.cancel()
            self._arrived(arrival)

    @asynccontextmanager
    async def place(self, kind: int = 0) -> AsyncIterator[None]:
        """Hold a place while the block runs. kind: of the work, as in `AdaptiveLimit`. Raises Overloaded."""
        client = current_client()
        self._ask(client)
        await self._wait(client)
        self._begun += 1
        begun, was_alone, started = self._begun, self.running == 1, time.monotonic()
        try:
            yield
            alone = was_alone and begun == self._begun
            self.limit.completed(kind, time.monotonic() - started, running=self.running, alone=alone)
        finally:
            self._leave(client)

    def _ask(self, client: str) -> None:
        """Check the first piece of work of a request, unless it was let in a moment ago."""
        arrival = self._arrival.get()
        if arrival is not None:
            if self._arrived(arrival) or arrival.has_asked:
                arrival.has_asked = True
                return
            arrival.has_asked = True
        self._note(client)
        self.check(client)

    def _note(self, client: str) -> None:
        self._seen[client] = time.monotonic()
        self._seen.move_to_end(client)
        if len(self._seen) > REMEMBERED_CLIENTS:
            forgotten, _ = self._seen.popitem(last=False)
            self._over_share.pop(forgotten, None)

    def _arrived(self, arrival: _Arrival) -> bool:
        """Stop counting a request as one that arrives. Return whether it was counted until now."""
        counted, arrival.counts = arrival.counts, False
        if counted:
            _subtract(self._arriving, arrival.client)
        return counted

    def expected_wait(self, client: str) -> float:
        """Return how long the next piece of work of a client would wait, in seconds, as far as can be told."""
        before = self._waiting_of(client)
        # As many pieces of work have to end first.
        ahead = before + 1 - self._free_for(client)
        if ahead <= 0:
            return 0.0
        # Each other client gets as many turns as this one until then.
        others = sum(min(len(queue), ahead) for name, queue in self._queues.items() if name != client)
        return (ahead + others) * self.limit.interval

    def _fills(self, client: str) -> bool:
        """Return whether the queue is full of a client's work. What only arrives may not have to wait."""
        return 0 < self._most_waiting <= len(self._queues.get(client, ()))

    def _waiting_of(self, client: str) -> int:
        return len(self._queues.get(client, ())) + self._arriving[client]

    def _has_waiting(self, client: str) -> bool:
        return client in self._queues or client in self._arriving

    def _is_over_share(self, client: str) -> bool:
        until = self._over_share.get(client)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._over_share[client]
        return False

    def _short_wait(self) -> float:
        return min(LONGEST_WAIT, max(SHORTEST_WAIT, self.limit.seconds_alone / 2))

    def _shorten(self, client: str) -> None:
        """Keep only as much of a client's queue as a client that is over its share may have."""
        log.warning("client_over_share", client=client, what=self._what, running=self.running, limit=self.limit.value)
        kept = max(1, int(self._short_wait() / max(self.limit.interval, SHORTEST_WAIT)))
        queue = self._queues.get(client, deque())
        while len(queue) > kept:
            self._refuse_newest(client)

    def _extend(self, client: str) -> None:
        """Treat a client as over its share for a while from now on."""
        self._over_share[client] = time.monotonic() + CALM_SECONDS

    def _refusal(self, wait: float) -> Overloaded:
        message = f"Too many {self._what} at once. Try again in a moment."
        return Overloaded(message, retry_after=max(1.0, wait))

    def _refuse_newest(self, client: str) -> None:
        queue = self._queues[client]
        newest = queue.pop()
        if not queue:
            del self._queues[client]
        self.waiting -= 1
        if not newest.turn.done():
            newest.turn.set_exception(self._refusal(0.0))

    async def _wait(self, client: str) -> None:
        if not self._queues and self._may_begin(client):
            self._begin(client)
            return
        self.limit.reached()
        self._make_room(client)
        waiting = _Waiting(client)
        self._queues.setdefault(client, deque()).append(waiting)
        self.waiting += 1
        self._serve()
        longest = LONGEST_WAIT if self._is_over_share(client) else self._wait_seconds
        try:
            async with asyncio.timeout(remaining(longest)):
                await waiting.turn
        except TimeoutError:
            self._give_up(waiting)
            raise self._refusal(longest) from None
        except BaseException:
            self._give_up(waiting)
            raise

    def _give_up(self, waiting: _Waiting) -> None:
        """Remove what no longer waits. If it had just got its place, the next one gets that."""
        queue = self._queues.get(waiting.client)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            self.waiting -= 1
            if not queue:
                del self._queues[waiting.client]
        elif waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
            self._leave(waiting.client)

    def _make_room(self, client: str) -> None:
        """Refuse the newest work of the client that has most of it waiting, if the queues are full."""
        if self.waiting < self._most_waiting:
            return
        longest = max(self._queues, key=lambda name: len(self._queues[name]), default=client)
        if longest == client or len(self._queues[longest]) <= len(self._queues.get(client, ())) + 1:
            raise self._refusal(self.expected_wait(client))
        self._refuse_newest(longest)

    def _serve(self) -> None:
        """Give free places to the clients in turn."""
        passed = 0
        while self._queues and passed < len(self._queues) and self.running < self.limit.value:
            client, queue = next(iter(self._queues.items()))
            if not self._may_begin(client):
                self._queues.move_to_end(client)
                passed += 1
                continue
            passed = 0
            first = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues.move_to_end(client)
            else:
                del self._queues[client]
            if not first.turn.done():
                self._begin(client)
                first.turn.set_result(None)

    def _may_begin(self, client: str) -> bool:
        """Return whether there is a place for a client."""
        return self._free_for(client) > 0

    def _free_for(self, client: str) -> int:
        """Return how many places there are for a client. The last one is kept for others, if there are any."""
        limit, own = self.limit.value, self._running_of[client]
        free = limit - self.running
        if self._of_client is not None:
            free = min(free, self._of_client - own)
        if free > 0 and limit > 1 and self._others_than(client):
            free = min(free, limit - 1 - own)
        return free

    def _others_than(self, client: str) -> bool:
        """Return whether another client was seen a short time ago."""
        since = time.monotonic() - OTHERS_SECONDS
        for number, (name, seen) in enumerate(reversed(self._seen.items())):
            if number > 1 or seen < since:
                return False
            if name != client:
                return True
        return False

    def _begin(self, client: str) -> None:
        self.running += 1
        self._running_of[client] += 1

    def _leave(self, client: str) -> None:
        self.running -= 1
        _subtract(self._running_of, client)
        self._serve()


def _subtract(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
