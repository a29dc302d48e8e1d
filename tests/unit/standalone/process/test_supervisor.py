"""A child is restarted when it dies and stopped in time."""

import asyncio
import os
import re
import signal
from collections.abc import MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from structlog.testing import LogCapture

from servicekit.process.service import EXIT_CONFIG, StartupError
from servicekit.process.silence import Patience, Watch
from servicekit.settings import SettingsError
from standalone.process import supervisor
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import RestartPolicy, describe_status, supervised
from tests.eventually import eventually
from tests.processes import gone
from tests.unit.standalone.conftest import QUICK, python_child

READY_AND_WAIT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open("ready", "w").close()
with open("starts", "a") as file: file.write("x")
while True: signal.pause()
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("ready", "w").close()
while True: signal.pause()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def starts(directory: Path) -> int:
    path = directory / "starts"
    return len(path.read_text()) if path.exists() else 0


def has_started(directory: Path, count: int) -> bool:
    return starts(directory) == count


async def test_a_child_is_ready_when_its_probe_is_true_and_is_gone_afterwards(tmp_path: Path, output: ChildLog) -> None:
    async with supervised(python_child(tmp_path, READY_AND_WAIT), output) as child:
        await child.wait_ready()
        pid = child.pid
        assert pid is not None
        assert alive(pid)
    assert not alive(pid)


async def test_a_killed_child_is_restarted(tmp_path: Path, output: ChildLog) -> None:
    async with supervised(python_child(tmp_path, READY_AND_WAIT), output) as child:
        await child.wait_ready()
        await eventually(partial(has_started, tmp_path, 1))
        for count in (2, 3, 4, 5):
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            await eventually(partial(has_started, tmp_path, count))


async def test_a_child_that_never_gets_ready_is_given_up_with_its_last_line(tmp_path: Path, output: ChildLog) -> None:
    script = "import sys; open('starts', 'a').write('x'); sys.exit('the model is not there')"
    async with supervised(python_child(tmp_path, script), output) as child:
        with pytest.raises(StartupError, match=r"child cannot start \(exit status 1\): the model is not there"):
            await child.wait_ready()
    assert starts(tmp_path) == QUICK.start_attempts


async def test_a_child_with_a_wrong_setting_is_not_restarted(tmp_path: Path, output: ChildLog) -> None:
    line = "trainer: SIMILIS_LEASE_SECONDS: not a number"
    script = f"import sys; open('starts', 'a').write('x'); print('{line}'); sys.exit({EXIT_CONFIG})"
    async with supervised(python_child(tmp_path, script), output) as child:
        with pytest.raises(SettingsError, match=f"^{line}$"):
            await child.wait_ready()
    assert starts(tmp_path) == 1


async def test_a_missing_program_is_a_startup_error(tmp_path: Path, output: ChildLog) -> None:
    spec = python_child(tmp_path, "")
    object.__setattr__(spec.command, "arguments", ("/nowhere/at/all",))
    async with supervised(spec, output) as child:
        with pytest.raises(StartupError, match="cannot run /nowhere/at/all"):
            await child.wait_ready()


async def test_a_child_that_does_not_stop_is_killed_after_its_grace_period(tmp_path: Path, output: ChildLog) -> None:
    async with supervised(python_child(tmp_path, DEAF, grace_seconds=0.2), output) as child:
        await child.wait_ready()
        pid = child.pid
        assert pid is not None
    assert not alive(pid)


async def test_a_second_signal_cuts_the_grace_period_short(tmp_path: Path, output: ChildLog) -> None:
    stop_now = asyncio.Event()
    async with (
        asyncio.timeout(15),
        supervised(python_child(tmp_path, DEAF, grace_seconds=60), output, stop_now) as child,
    ):
        await child.wait_ready()
        stop_now.set()


async def test_a_child_can_be_stopped_before_it_is_ready_and_between_restarts(tmp_path: Path, output: ChildLog) -> None:
    async with asyncio.timeout(15):
        async with supervised(python_child(tmp_path, "import time; time.sleep(600)"), output):
            pass
        patient = RestartPolicy(first_delay=600.0, max_delay=600.0)
        script = "open('starts', 'a').write('x')"
        async with supervised(python_child(tmp_path, script, policy=patient), output) as child:
            await eventually(lambda: starts(tmp_path) == 1 and child.pid is None)


async def test_processes_of_a_dead_child_are_killed_before_it_is_restarted(tmp_path: Path, output: ChildLog) -> None:
    script = """
import os, signal
pid = os.fork()
if pid == 0:
    while True: signal.pause()
open("grandchild", "w").write(str(pid))
open("ready", "w").close()
while True: signal.pause()
"""
    async with supervised(python_child(tmp_path, script), output) as child:
        await child.wait_ready()
        grandchild = psutil.Process(int((tmp_path / "grandchild").read_text()))
        pid = child.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: gone([grandchild]))
        await eventually(lambda: child.pid not in (None, pid))


async def test_a_death_after_a_stable_run_counts_as_the_first(tmp_path: Path, output: ChildLog) -> None:
    # Every run counts as stable here, so no death is the second in a row.
    policy = RestartPolicy(first_delay=0.01, max_delay=600.0, stable_after=0.0, start_attempts=2)
    script = "open('ready', 'w').close(); open('starts', 'a').write('x')"
    async with supervised(python_child(tmp_path, script, policy=policy), output):
        await eventually(lambda: starts(tmp_path) >= 20)


HEARTBEAT = """
import os, signal, socket, time
def end(*_): os._exit(0)
signal.signal(signal.SIGTERM, end)
server = socket.socket(socket.AF_UNIX)
if os.path.exists("s"): os.unlink("s")
server.bind("s")
server.listen(64)
open("ready", "w").close()
with open("starts", "a") as file: file.write("x")
while True:
    connection, _ = server.accept()
    try: connection.sendall(b"x")
    except ConnectionError: pass
    connection.close()
"""
# It blocks for ever and ignores SIGTERM. So does its child, which has its own session.
BLOCKS = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setsid()
    while True: signal.pause()
open("grandchild", "w").write(str(pid))
with open("starts", "a") as file: file.write("x")
open("ready", "w").close()
while True: signal.pause()
"""


def watch(directory: Path, seconds: float = 1.2) -> Watch:
    """Return a watch of a child that answers on the socket `s`."""

    async def alive() -> bool:
        reader, writer = await asyncio.open_unix_connection(directory / "s")
        try:
            return bool(await reader.read(1))
        finally:
            writer.close()

    return Watch(alive, Patience(seconds, starting_seconds=60.0))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[MutableMapping[str, Any]]:
    """What the supervisor logs, however earlier tests have configured logging."""
    capture = LogCapture()
    monkeypatch.setattr(supervisor, "log", structlog.wrap_logger(structlog.PrintLogger(), processors=[capture]))
    return capture.entries


async def test_a_child_that_hangs_is_restarted_and_the_log_says_why(
    tmp_path: Path, output: ChildLog, logged: list[MutableMapping[str, Any]]
) -> None:
    async with supervised(python_child(tmp_path, HEARTBEAT, watch=watch(tmp_path)), output) as child:
        await child.wait_ready()
        await eventually(partial(has_started, tmp_path, 1))
        victim = child.pid
        assert victim is not None
        os.kill(victim, signal.SIGSTOP)
        await eventually(partial(has_started, tmp_path, 2))
    assert not alive(victim)
    found = {event["event"]: event for event in logged}
    assert (found["child_hangs"]["child"], found["child_hangs"]["pid"]) == ("child", victim)
    # It was suspended only, so it could still end as usual.
    assert found["child_died"]["ended"] == "exit status 0"
    assert re.fullmatch(r"it hung: no answer for \d+ s", found["child_died"]["reason"])


async def test_a_child_that_hangs_and_does_not_stop_is_killed_with_its_own_children(
    tmp_path: Path, output: ChildLog, logged: list[MutableMapping[str, Any]]
) -> None:
    spec = python_child(tmp_path, BLOCKS, grace_seconds=0.2, watch=watch(tmp_path, 0.6))
    async with supervised(spec, output) as child:
        await child.wait_ready()
        await eventually(partial(has_started, tmp_path, 1))
        grandchild = psutil.Process(int((tmp_path / "grandchild").read_text()))
        await eventually(partial(has_started, tmp_path, 2))
        await eventually(lambda: gone([grandchild]))
        # That of the second run.
        psutil.Process(int((tmp_path / "grandchild").read_text())).kill()
    assert "killed by SIGKILL" in [event.get("ended") for event in logged]


async def test_a_child_that_answers_is_left_alone(tmp_path: Path, output: ChildLog) -> None:
    async with supervised(python_child(tmp_path, HEARTBEAT, watch=watch(tmp_path)), output) as child:
        await child.wait_ready()
        pid = child.pid
        assert pid is not None
        for _ in range(3):
            # Each time for less than it may be silent.
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.3)
        assert child.pid == pid
    assert starts(tmp_path) == 1


def test_an_exit_status_is_described_in_words() -> None:
    assert describe_status(3) == "exit status 3"
    assert describe_status(-9) == "killed by SIGKILL"
    assert describe_status(-200) == "killed by signal 200"
