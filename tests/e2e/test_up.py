"""`similis up`: one line when it is ready, children that come back, and nothing left behind."""

import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .running_instance import SIMILIS, RunningInstance, gone, similis, until

CHILDREN = {
    "postgres": "bin/postgres",
    "qdrant": "similis.standalone.qdrant",
    "embedder": "similis.embedder",
    "trainer": "similis.trainer",
    "gateway": "similis.gateway",
}
SECOND_START_SECONDS = 15.0
IDLE_BYTES = 1.2e9


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    instance = RunningInstance.start(tmp_path_factory.mktemp("up") / "data")
    yield instance
    instance.stop()


def admin_key(instance: RunningInstance) -> str:
    return (instance.data / "admin-key").read_text().strip()


def test_it_is_ready_when_it_says_so(instance: RunningInstance) -> None:
    assert instance.get("/readyz") == 200


def test_the_first_key_is_in_a_file_for_its_owner_and_is_shown_nowhere(instance: RunningInstance) -> None:
    file = instance.data / "admin-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert instance.get("/api/verify", method="POST", key=admin_key(instance)) == 200
    assert instance.get("/api/verify", method="POST", key="1.wrong") == 403
    assert str(file) in instance.said()
    secret = admin_key(instance).partition(".")[2]
    logs = [instance.said(), *(path.read_text() for path in (instance.data / "logs").iterdir())]
    assert not any(secret in log for log in logs)


def test_only_the_api_listens_on_a_port(instance: RunningInstance) -> None:
    listening = {
        f"http://{connection.laddr.ip}:{connection.laddr.port}"
        for process in instance.family()
        for connection in process.net_connections(kind="inet")
        if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    }
    assert listening == {instance.address}


def test_a_second_one_on_the_same_directory_is_refused(instance: RunningInstance) -> None:
    done = similis("up", "--data", str(instance.data), "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        f"similis: the data directory {instance.data} is in use by another 'similis'"
    )
    assert instance.get("/readyz") == 200


def test_keys_of_a_running_instance(instance: RunningInstance) -> None:
    made = similis("keys", "create", "--name", "museum", "--data", str(instance.data))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert instance.get("/api/verify", method="POST", key=key) == 200
    listed = similis("keys", "list", "--data", str(instance.data)).stdout
    assert [line.split()[1] for line in listed.splitlines()] == ["NAME", "admin", "museum"]
    assert key.partition(".")[2] not in listed
    assert similis("keys", "delete", key.partition(".")[0], "--data", str(instance.data)).returncode == 0
    until(lambda: instance.get("/api/verify", method="POST", key=key) == 403)


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_that_is_killed_comes_back(instance: RunningInstance, name: str) -> None:
    victim = instance.child(CHILDREN[name])
    offspring = victim.children(recursive=True)
    victim.kill()
    until(lambda: gone([victim, *offspring]))

    def back() -> bool:
        try:
            return instance.child(CHILDREN[name]).pid != victim.pid and instance.get("/readyz") == 200
        except LookupError:
            return False

    until(back)
    assert instance.get("/api/collection/list") == 200


def test_idle_it_uses_little_memory(instance: RunningInstance) -> None:
    until(lambda: instance.get("/readyz") == 200)
    anonymous = 0
    for process in [psutil.Process(instance.process.pid), *instance.family()]:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        anonymous += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:")) * 1024
    assert anonymous < IDLE_BYTES


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_stops_clean_and_leaves_nothing_and_the_next_start_is_quick(tmp_path: Path, number: signal.Signals) -> None:
    first = RunningInstance.start(tmp_path / "data")
    key = admin_key(first)
    family = first.family()
    assert len(family) >= len(CHILDREN)
    assert first.stop(number) == 0
    assert gone(family)
    assert not (tmp_path / "data" / "run").exists()

    started = time.monotonic()
    second = RunningInstance.start(tmp_path / "data")
    try:
        assert time.monotonic() - started < SECOND_START_SECONDS
        assert second.get("/api/verify", method="POST", key=key) == 200
        assert second.said().count("api_key_created") == 1
    finally:
        second.stop()


def test_killed_itself_it_leaves_nothing_and_the_next_start_recovers(tmp_path: Path) -> None:
    first = RunningInstance.start(tmp_path / "data")
    key = admin_key(first)
    family = first.family()
    first.stop(signal.SIGKILL)
    second = RunningInstance.start(tmp_path / "data")
    try:
        assert gone(family)
        assert second.get("/api/verify", method="POST", key=key) == 200
    finally:
        second.stop()


def test_stopped_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with subprocess.Popen([*SIMILIS, "up", "--data", str(data), "--port", "0"], stdout=subprocess.PIPE) as process:
        until(lambda: (data / "logs" / "postgres.log").exists())
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert gone(family)


def test_keys_of_a_stopped_instance(tmp_path: Path) -> None:
    instance = RunningInstance.start(tmp_path / "data")
    instance.stop()
    made = similis("keys", "create", "--name", "museum", "--data", str(tmp_path / "data"))
    assert made.returncode == 0
    assert "not running" in made.stderr
    listed = similis("keys", "list", "--data", str(tmp_path / "data")).stdout
    assert "museum" in listed
    # Nothing was left running, or this would wait for it and fail.
    second = RunningInstance.start(tmp_path / "data")
    try:
        assert second.get("/api/verify", method="POST", key=made.stdout.strip()) == 200
    finally:
        second.stop()
