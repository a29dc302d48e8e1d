"""Clients share places fairly, bursts are served, and floods are refused before anything is done for them."""

import asyncio

import pytest

from gateway.admission.adaptive_limit import AdaptiveLimit
from gateway.admission.client import requests_of
from gateway.admission.fair_queue import FairQueue
from servicekit.errors import Overloaded
from tests.eventually import eventually


class Work:
    """Pieces of work that hold their places until the test ends them."""

    def __init__(self, *, at_once: int = 1, waiting: int = 100, seconds: float = 0.0, wait_seconds: float = 20) -> None:
        """seconds: that a piece of work takes, as the queue has measured."""
        limit = AdaptiveLimit(at_once)
        self.queue = FairQueue("searches", limit, waiting=waiting, wait_seconds=wait_seconds)
        for _ in range(20 if seconds else 0):
            limit.completed(0, seconds, alone=True)
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def begin(self, name: str, client: str) -> "asyncio.Task[None]":
        """Let a request in, and let it wait for its place."""
        task = asyncio.create_task(self._run(name, client))
        await asyncio.sleep(0)
        return task

    async def _run(self, name: str, client: str) -> None:
        with requests_of(client), self.queue.arrival():
            async with self.queue.place():
                self.begun.append(name)
                await self._ends.setdefault(name, asyncio.Event()).wait()

    async def end(self, name: str) -> None:
        self._ends.setdefault(name, asyncio.Event()).set()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_clients_take_turns_however_much_one_of_them_sends() -> None:
    work = Work()
    for number in range(5):
        await work.begin(f"flood {number}", "1.1.1.1")
    await work.begin("modest", "2.2.2.2")
    await work.end("flood 0")
    await work.end("flood 1")
    assert work.begun == ["flood 0", "flood 1", "modest"]


async def test_one_place_is_kept_for_other_clients() -> None:
    work = Work(at_once=3)
    await work.begin("other", "2.2.2.2")
    await work.end("other")
    for number in range(4):
        await work.begin(f"flood {number}", "1.1.1.1")
    assert work.begun == ["other", "flood 0", "flood 1"]
    await work.begin("modest", "2.2.2.2")
    assert work.begun[-1] == "modest"


async def test_a_client_that_is_alone_gets_every_place() -> None:
    work = Work(at_once=3)
    for number in range(3):
        await work.begin(f"{number}", "1.1.1.1")
    assert len(work.begun) == 3


async def test_a_burst_of_two_seconds_waits_and_what_exceeds_it_is_refused_at_once() -> None:
    work = Work(seconds=0.2)
    burst = [await work.begin(f"{number}", "1.1.1.1") for number in range(11)]
    assert not any(task.done() for task in burst)
    more = await work.begin("more", "1.1.1.1")
    with pytest.raises(Overloaded) as refused:
        await more
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1.0


async def test_a_client_that_exceeds_its_burst_keeps_a_short_queue_and_others_are_not_concerned() -> None:
    work = Work(seconds=0.2)
    burst = [await work.begin(f"{number}", "1.1.1.1") for number in range(12)]
    await asyncio.sleep(0)
    refused = [task for task in burst if task.done() and isinstance(task.exception(), Overloaded)]
    assert len(refused) == 10
    modest = await work.begin("modest", "2.2.2.2")
    assert not modest.done()
    await work.end("0")
    await work.end("1")
    assert work.begun == ["0", "1", "modest"]


async def test_a_client_that_fills_the_queue_keeps_a_short_one() -> None:
    work = Work(seconds=0.02, waiting=64)
    # One runs, and 64 wait for 1.3 seconds: as many callers as take turns. One more is too many.
    burst = [await work.begin(f"{number}", "1.1.1.1") for number in range(65)]
    assert not any(task.done() for task in burst)
    more = await work.begin("more", "1.1.1.1")
    await asyncio.sleep(0)
    assert isinstance(more.exception(), Overloaded)
    assert work.queue.waiting == 1


async def test_a_client_that_is_refused_because_of_others_is_not_over_its_share() -> None:
    work = Work(seconds=0.8)
    for number in range(4):
        await work.begin(f"{number}", f"1.1.1.{number}")
    modest = await work.begin("modest", "2.2.2.2")
    assert isinstance(modest.exception(), Overloaded)
    await work.end("0")
    await work.end("1")
    assert not (await work.begin("modest again", "2.2.2.2")).done()


async def test_a_full_queue_costs_the_client_that_has_most_in_it() -> None:
    work = Work(waiting=2)
    tasks = [await work.begin(f"{number}", "1.1.1.1") for number in range(3)]
    modest = await work.begin("modest", "2.2.2.2")
    await asyncio.sleep(0)
    assert isinstance(tasks[2].exception(), Overloaded)
    assert not modest.done()


async def test_a_request_whose_body_is_slow_soon_no_longer_counts_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.fair_queue.ARRIVAL_SECONDS", 0.001)
    work = Work(seconds=1.2)
    with requests_of("1.1.1.1"), work.queue.arrival():
        with pytest.raises(Overloaded), work.queue.arrival(), work.queue.arrival():
            pass
        await eventually(lambda: not work.queue.expected_wait("1.1.1.1"))


async def test_a_request_that_leaves_while_it_waits_or_runs_frees_its_place() -> None:
    work = Work()
    running, waiting = await work.begin("running", "1.1.1.1"), await work.begin("waiting", "1.1.1.1")
    for task in (waiting, running):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (work.queue.running, work.queue.waiting) == (0, 0)
    await work.begin("next", "1.1.1.1")
    assert work.begun == ["running", "next"]


async def test_a_wait_ends_after_its_longest_time() -> None:
    work = Work(wait_seconds=0.01)
    await work.begin("running", "1.1.1.1")
    waiting = await work.begin("waiting", "1.1.1.1")
    with pytest.raises(Overloaded):
        await waiting
    assert work.queue.waiting == 0
