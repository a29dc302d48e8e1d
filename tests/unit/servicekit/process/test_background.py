"""Work in the background ends with what it is for, and does not fail in silence."""

import asyncio

import pytest

from servicekit.process.background import in_background


async def test_work_is_ended_and_waited_for() -> None:
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


async def test_work_that_fails_says_so_at_once_and_disturbs_nobody(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise RuntimeError("no work")

    async with in_background(work(), "work") as task:
        await asyncio.wait({task})
        await asyncio.sleep(0)
        # Wherever earlier tests have left the logs to go.
        said = capsys.readouterr().out + caplog.text
        assert "background_failed" in said
        assert "no work" in said
