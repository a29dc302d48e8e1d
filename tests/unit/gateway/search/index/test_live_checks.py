"""Whether an index is still live: one statement answers for all searches that began before it."""

import asyncio
from collections.abc import Collection

import pytest

from catalog.indexes import Index, Indexes
from gateway.search.index import live_checks
from gateway.search.index.live_checks import LiveChecks
from servicekit.errors import DeadlineExceeded, Unavailable
from servicekit.request_context import request_scope
from tests.eventually import eventually


class SlowIndexes(Indexes):
    """Answers only on command, and records what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.answers: asyncio.Queue[dict[int, int | None] | Exception] = asyncio.Queue()

    async def live_ids(self, collection_ids: Collection[int] | None, *, limit: int) -> dict[int, int | None]:
        self.asked.append(set(collection_ids or ()))
        assert limit == len(collection_ids or ())
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


def index(collection: int, identifier: int) -> Index:
    return Index(identifier, collection, 1, f"c{collection}-g{identifier}", None, "b", 4)


async def test_a_search_that_begins_while_a_statement_runs_waits_for_the_next_one() -> None:
    slow = SlowIndexes()
    async with LiveChecks.open(slow) as checks:
        early = [checks.begin(index(1, 10)), checks.begin(index(2, 20))]
        await eventually(lambda: bool(slow.asked))
        late = [checks.begin(index(1, 10)), checks.begin(index(1, 11)), checks.begin(index(3, 30))]
        slow.answers.put_nowait({1: 10, 2: None})
        assert [await check.is_live() for check in early] == [True, False]
        # In the meantime, another index was published.
        slow.answers.put_nowait({1: 11})
        assert [await check.is_live() for check in late] == [False, True, False]
    assert slow.asked == [{1, 2}, {1, 3}]


@pytest.mark.parametrize("error", [Unavailable("The database is not available."), KeyError("a defect")])
async def test_a_failure_is_that_of_all_who_wait_and_of_nobody_later(error: Exception) -> None:
    slow = SlowIndexes()
    async with LiveChecks.open(slow) as checks:
        waiting = [checks.begin(index(1, 10)) for _ in range(2)]
        slow.answers.put_nowait(error)
        for check in waiting:
            with pytest.raises(Unavailable, match="The database is not available"):
                await check.is_live()
        slow.answers.put_nowait({1: 10})
        assert await checks.begin(index(1, 10)).is_live()


async def test_a_silent_database_holds_up_no_search_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_checks, "STATEMENT_SECONDS", 0.05)
    slow = SlowIndexes()
    async with LiveChecks.open(slow) as checks:
        with pytest.raises(DeadlineExceeded):
            await checks.begin(index(1, 10)).is_live()
        slow.answers.put_nowait({1: 10})
        assert await checks.begin(index(1, 10)).is_live()


async def test_a_search_gives_up_at_its_own_deadline_and_the_others_wait_on() -> None:
    slow = SlowIndexes()
    async with LiveChecks.open(slow) as checks:
        patient = asyncio.ensure_future(checks.begin(index(1, 10)).is_live())
        with request_scope("request", 0.02), pytest.raises(DeadlineExceeded):
            await checks.begin(index(1, 10)).is_live()
        slow.answers.put_nowait({1: 10})
        slow.answers.put_nowait({1: 10})
        assert await patient


async def test_a_search_that_is_cancelled_cancels_no_other_one() -> None:
    slow = SlowIndexes()
    async with LiveChecks.open(slow) as checks:
        first, second = [asyncio.ensure_future(checks.begin(index(1, 10)).is_live()) for _ in range(2)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        slow.answers.put_nowait({1: 10})
        assert await second
