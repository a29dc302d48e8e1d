"""Children that start together."""

import asyncio
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("standalone.cli", ["numpy", "grpc", "aiohttp", "cryptography", "standalone.backup", "standalone.migration"]),
        ("standalone.gateway_and_embedder.app", ["cryptography", "torch"]),
        ("trainer.app", ["cryptography", "torch"]),
    ],
)
def test_a_start_imports_nothing_that_only_other_commands_need(module: str, heavy: list[str]) -> None:
    """Every start of an instance waits for these imports, and its processes keep them in memory."""
    script = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
