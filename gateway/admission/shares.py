"""Memory and slots for request bodies, shared by clients: the client that holds most of them gives way to others."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from gateway.admission.client import current_client
from gateway.admission.reception import Reception, current_reception
from servicekit.errors import Overloaded
from servicekit.limits import ByteAccount, ByteBudget

# How long an upload waits for a place, while one may become free.
PLACE_SECONDS, LOOK_SECONDS = 1.0, 0.05


class ClientAccount(ByteAccount):
    """The bytes that the body of one client has taken."""

    def __init__(self, budget: "BodyMemory") -> None:
        super().__init__(budget)
        self._memory = budget
        self.client = current_client()
        self.reception = current_reception()

    def take(self, size: int) -> None:
        """Take bytes for this body. Raises Overloaded when too few are free, and no other client has more of them."""
        self._memory.make_room(self, size)
        super().take(size)


class BodyMemory(ByteBudget):
    """Memory for bodies. When it is full, a client that has less of it than another gets what it needs.

    The other client's bodies that are still arriving are given up, the slowest first. Those that have arrived are kept.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._accounts: set[ClientAccount] = set()

    @contextmanager
    def account(self) -> Iterator[ByteAccount]:
        """See `ByteBudget`."""
        account = ClientAccount(self)
        self._accounts.add(account)
        try:
            yield account
        finally:
            self._accounts.discard(account)
            self._release(account.taken)

    def make_room(self, account: ClientAccount, size: int) -> None:
        """Free as many bytes for an account, if another client has more than the account's would have then."""
        while size > self.free:
            taken: Counter[str] = Counter()
            for one in self._accounts:
                taken[one.client] += one.taken
            most = taken[account.client] + size
            arriving = [one for one in self._accounts if taken[one.client] > most and _can_give_up(one)]
            if not arriving:
                return
            self._give_up(min(arriving, key=_slowness))

    def _give_up(self, account: ClientAccount) -> None:
        if account.reception is not None:
            account.reception.give_up(_gave_way())
        # At once: the task that reads the body drops its bytes in the next round of the event loop.
        self._release(account.taken)
        account.taken = 0


class ReceivingPlaces:
    """Places for uploads that arrive. When all are taken, one that is slow, or of a client with more, gives way."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # The body of each upload; None if there is none, as for those that are read from another service.
        self._held: dict[object, Reception | None] = {}

    @asynccontextmanager
    async def slot(self, *, has_body: bool = True) -> AsyncIterator[None]:
        """Hold a place while the block runs. Raises Overloaded."""
        place = object()
        await self._wait()
        self._held[place] = current_reception() if has_body else None
        try:
            yield
        finally:
            self._held.pop(place, None)

    async def _wait(self) -> None:
        for _ in range(int(PLACE_SECONDS / LOOK_SECONDS)):
            if self._has_room():
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise Overloaded("Too many uploads at once. Try again in a moment.")

    def _has_room(self) -> bool:
        if len(self._held) < self._at_once:
            return True
        held = Counter(body.client for body in self._held.values() if body is not None)
        own = held[current_client()] + 1
        candidates = [
            (body.rate, place, body)
            for place, body in self._held.items()
            if body is not None and not body.is_complete and (body.is_slow or held[body.client] > own)
        ]
        if not candidates:
            return False
        _, place, body = min(candidates, key=lambda found: found[0])
        del self._held[place]
        body.give_up(_gave_way())
        return True


def _can_give_up(account: ClientAccount) -> bool:
    return account.taken > 0 and account.reception is not None and not account.reception.is_complete


def _slowness(account: ClientAccount) -> float:
    return account.reception.rate if account.reception is not None else 0.0


def _gave_way() -> Overloaded:
    return Overloaded("Too many large requests at once, and this was the slowest. Try again in a moment.")
