"""Background tasks end with their block, and their failures are logged."""

import asyncio

import pytest

from servicekit.process.background import in_background


async def test_the_task_is_cancelled_and_awaited_at_the_end_of_the_block() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with in_background(work(), "work") as task:
        await asyncio.sleep(0)
        assert not task.done()
    assert ended


async def test_a_failure_is_logged_at_once_and_does_not_reach_the_block(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise RuntimeError("no work")

    async with in_background(work(), "work") as task:
        await asyncio.wait({task})
        await asyncio.sleep(0)
        # Logs go to standard output or to `caplog`, depending on how earlier tests configured them.
        logged = capsys.readouterr().out + caplog.text
        assert "background_task_failed" in logged
        assert "no work" in logged
