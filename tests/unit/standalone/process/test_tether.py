"""Children end with their supervisor, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from standalone.process import tether
from tests.eventually import eventually
from tests.unit.standalone.process.test_supervisor import alive

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from standalone.process.child_log import ChildLog
from standalone.process.tethered_process import ChildCommand, spawn

async def main():
    here = Path(sys.argv[1])
    script = "import os, signal; open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'child'); signal.pause()"
    await spawn(ChildCommand((sys.executable, "-I", "-S", "-c", script), {}, here), ChildLog("child", here))
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start_supervisor(directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(directory)])


async def test_a_child_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    supervisor = start_supervisor(tmp_path)
    try:
        await eventually((tmp_path / "child").exists)
        child = int((tmp_path / "child").read_text())
        assert alive(child)
        supervisor.kill()
        await eventually(lambda: not alive(child))
    finally:
        supervisor.kill()
        supervisor.wait()


def test_nothing_runs_for_a_supervisor_that_is_already_gone(tmp_path: Path) -> None:
    stranger = "1" if os.getpid() != 1 else "2"
    arguments = [stranger, str(int(signal.SIGKILL)), "-1", "-1", str(tmp_path), "/bin/sh", "-c", "touch ran"]
    done = subprocess.run([sys.executable, "-I", "-S", tether.__file__, *arguments], check=False)
    assert done.returncode == 1
    assert not (tmp_path / "ran").exists()
