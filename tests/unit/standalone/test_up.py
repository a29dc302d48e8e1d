"""Children that start together."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from servicekit.process.service import StartupError
from standalone.instance.data_directory import DataDirectory
from standalone.up import Children
from tests.unit.standalone.conftest import QUICK, python_child


async def test_when_several_children_cannot_start_one_error_is_raised(tmp_path: Path, data: DataDirectory) -> None:
    async with AsyncExitStack() as stack:
        children = Children(stack, data, asyncio.Event())
        for name in ("first", "second"):
            await children.start(python_child(tmp_path, "import sys; sys.exit('no model')", policy=QUICK, name=name))
        with pytest.raises(StartupError, match=r"(first|second) cannot start \(exit status 1\): no model"):
            await children.wait_ready()
