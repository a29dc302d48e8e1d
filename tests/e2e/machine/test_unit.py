"""The systemd unit of the handbook: systemd accepts it, and Similis works with what it leaves to it."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from servicekit.process.service import EXIT_CONFIG
from standalone.postgres.damage import EXIT_DAMAGED
from tests.e2e.machine.conftest import Machine
from tests.e2e.machine.unit import USER, Unit, analyze
from tests.processes import gone

# Of 10; lower is better. systemd calls this "OK".
MOST_EXPOSED = 4.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The unit as a file."""
    path = tmp_path / "similis.service"
    path.write_text(Unit(tmp_path / "data").text, encoding="utf-8")
    return path


def test_systemd_accepts_the_unit(file: Path) -> None:
    done = analyze("verify", str(file))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_little_of_the_system_is_exposed_to_the_service(file: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED * 10:.0f}", str(file))
    level = re.search(r"Overall exposure level for similis.service: ([0-9.]+) ", done.stdout)
    assert level is not None
    assert float(level[1]) < MOST_EXPOSED
    assert done.returncode == 0


def test_the_service_cannot_write_elsewhere_or_gain_rights(machine: Machine) -> None:
    """Otherwise the other tests would show nothing about the unit."""
    confinement = machine.unit.confinement
    tries = """
        touch "$0/probe" /tmp/probe && ! touch /usr/probe && ! ls /proc/1 &&
        ! "$1" -c 'import socket; socket.socket(socket.AF_PACKET)' && "$1" -c 'import socket; socket.socket()'
    """
    if not confinement.mounts:
        pytest.skip("a separate file system needs root and the right to mount")
    done = subprocess.run(
        [*confinement.command(), "sh", "-c", tries, str(machine.unit.data), sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not Path("/tmp/probe").exists()
    (machine.unit.data / "probe").unlink()


def test_every_process_is_confined(machine: Machine) -> None:
    processes = [machine.instance.process.pid, *(process.pid for process in machine.instance.family())]
    assert len(processes) > 6
    for process in processes:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        found = dict(re.findall(r"^(\w+):\s+(\S+)", status, re.MULTILINE))
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        if machine.unit.confinement.user is not None:
            assert (found["Uid"], found["CapBnd"]) == (str(USER), "0" * 16)


def test_others_cannot_read_the_data(machine: Machine) -> None:
    made = [path for path in machine.unit.data.rglob("*") if path.is_file() and "models" not in path.parts]
    assert len(made) > 100
    open_to_others = {path.name for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077}
    # The test made it, before the service started.
    assert open_to_others <= {"similis.json"}


def test_nothing_that_the_service_does_is_refused(machine: Machine) -> None:
    logs = "".join(path.read_text(encoding="utf-8") for path in (machine.unit.data / "logs").glob("*.log"))
    assert "ready" in machine.instance.log()
    assert re.findall(r".*(?:not permitted|denied|Read-only file system).*", logs + machine.instance.log()) == []


def test_the_service_does_not_restart_after_a_wrong_option_or_setting(tmp_path: Path) -> None:
    """argparse ends with 2. A wrong setting has another status, for each of the processes."""
    unit = Unit(tmp_path / "data")

    def status(*options: str, **settings: str) -> int:
        environment = {**unit.environment, **settings}
        done = subprocess.run([*unit.command, *options], env=environment, capture_output=True, check=False)
        return done.returncode

    wrong = status(SIMILIS_LOG_LEVEL="loud")
    assert (status("--unknown"), wrong) == (2, EXIT_CONFIG)
    assert unit.value("RestartPreventExitStatus") == f"2 {EXIT_DAMAGED} {EXIT_CONFIG}"
    assert unit.value("Restart") == "on-failure"


def test_the_service_ends_in_time_when_systemd_stops_it(machine: Machine) -> None:
    """With KillMode=mixed, systemd sends SIGTERM to the first process only."""
    assert machine.unit.value("KillMode") == "mixed"
    family = machine.instance.family()
    psutil.Process(machine.instance.process.pid).terminate()
    assert machine.instance.process.wait(float(machine.unit.value("TimeoutStopSec"))) == 0
    assert gone(family)
