"""A working process is not mistaken for one that hangs."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local_qdrant.router.engine_progress import EngineProgress
from tests.eventually import eventually


@contextmanager
def process(script: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running
        running.kill()


async def test_a_process_that_computes_works() -> None:
    with process("print('ready', flush=True)\nwhile True: pass") as running:
        progress = EngineProgress(running.pid)
        progress.worked()
        await eventually(progress.worked)


async def test_a_process_whose_thread_computes_works() -> None:
    script = """
import threading
def work():
    for _ in iter(int, 1): pass
thread = threading.Thread(target=work)
thread.start()
print('ready', flush=True)
thread.join()
"""
    with process(script) as running:
        progress = EngineProgress(running.pid)
        progress.worked()
        await eventually(progress.worked)


async def test_a_process_that_waits_for_something_does_not_work() -> None:
    with process("import threading; print('ready', flush=True); threading.Event().wait()") as running:
        progress = EngineProgress(running.pid)
        # It may still be on its way to wait.
        await eventually(lambda: not progress.worked())
        await asyncio.sleep(0.3)
        assert not progress.worked()


def test_a_process_that_has_ended_is_an_error() -> None:
    with process("print('ready', flush=True)") as running:
        running.wait()
    with pytest.raises(FileNotFoundError):
        EngineProgress(running.pid).worked()
