"""What is logged about upstreams that do not respond."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from servicekit.errors import Unavailable
from servicekit.telemetry import upstreams
from servicekit.telemetry.metrics import UpstreamMetrics
from servicekit.telemetry.upstreams import watched_upstreams


async def events_of(*answers: Exception | None) -> list[str]:
    """Return the events that are logged while an upstream gives these answers in turn."""
    waiting = list(answers)
    done = asyncio.Event()

    async def check() -> None:
        if not waiting:
            done.set()
            await asyncio.Event().wait()
        answer = waiting.pop(0)
        if answer is not None:
            raise answer

    with capture_logs() as events:
        async with watched_upstreams({"qdrant": check}, UpstreamMetrics(CollectorRegistry()), seconds=0.0):
            await done.wait()
    return [event["event"] for event in events]


STARTING = Unavailable("not there", code="qdrant_unavailable")


async def test_an_upstream_that_is_still_starting_is_no_warning() -> None:
    assert await events_of(STARTING, STARTING, None) == []


async def test_an_upstream_that_goes_away_is_a_warning() -> None:
    assert await events_of(STARTING, None, STARTING, None) == ["upstream_lost", "upstream_back"]


async def test_an_upstream_that_does_not_start_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "START_SECONDS", 0.0)
    assert await events_of(STARTING, STARTING) == ["upstream_lost"]


async def test_a_wrong_key_is_a_warning_at_once() -> None:
    assert await events_of(Unavailable("wrong key", code="qdrant_key_refused")) == ["upstream_lost"]
