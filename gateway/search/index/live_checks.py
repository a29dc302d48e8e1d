"""Whether indexes are still live. One statement answers for all searches that begin while the previous one runs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from catalog.indexes import Index, Indexes
from servicekit.errors import DeadlineExceeded, ServiceError, Unavailable
from servicekit.process.background import in_background
from servicekit.request_context import remaining
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# A statement that takes longer is given up, with its connection, so that the next one can use another connection.
STATEMENT_SECONDS = 4.0
# The longest wait of a search: for the statement that is running, and then for its own.
WAIT_SECONDS = 2 * STATEMENT_SECONDS + 1
NO_ANSWER = "The database did not respond in time."

# The live index of each existing collection, or the error that kept us from reading them.
Live = Mapping[int, int | None] | ServiceError


@dataclass(frozen=True)
class _Statement:
    """The collections that the next statement asks about, and its answer."""

    collections: set[int] = field(default_factory=set)
    live: asyncio.Future[Live] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class LiveCheck:
    """A check that is under way."""

    def __init__(self, index: Index, live: asyncio.Future[Live]) -> None:
        self._index = index
        self._live = live

    async def is_live(self) -> bool:
        """Return whether the index was live at some time after the check began.

        Raises what the database raises, and DeadlineExceeded.
        """
        if not self._live.done():
            try:
                async with asyncio.timeout(remaining(WAIT_SECONDS)):
                    # Other searches wait for it, too.
                    await asyncio.shield(self._live)
            except TimeoutError:
                raise DeadlineExceeded(NO_ANSWER) from None
        live = self._live.result()
        if isinstance(live, ServiceError):
            raise live
        return live.get(self._index.collection_id) == self._index.id


class LiveChecks:
    """Begins checks. Statements run in the background, one at a time, while entered by `open`."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes
        self._next: _Statement | None = None
        self._asked = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, indexes: Indexes) -> AsyncIterator["LiveChecks"]:
        """Run statements while entered."""
        checks = cls(indexes)
        async with in_background(checks.answer(), "live-checks"):
            yield checks

    def begin(self, index: Index) -> LiveCheck:
        """Begin to find out whether an index is live."""
        if self._next is None:
            self._next = _Statement()
            self._asked.set()
        self._next.collections.add(index.collection_id)
        return LiveCheck(index, self._next.live)

    async def answer(self) -> None:
        """Run statements until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            statement, self._next = self._next, None
            if statement is not None:
                statement.live.set_result(await self._read(statement.collections))

    async def _read(self, collections: set[int]) -> Live:
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                return await self._indexes.live_ids(collections, limit=len(collections))
        except TimeoutError:
            return DeadlineExceeded(NO_ANSWER)
        except ServiceError as error:
            return error
        except Exception as error:
            log.error("live_check_failed", exc_info=error)
            return Unavailable("The database is not available.", code="database_unavailable")
