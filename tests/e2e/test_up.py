"""`similis up`: it says when it is ready, restarts children that die or hang, and leaves nothing behind."""

import asyncio
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import asyncpg
import psutil
import pytest

from standalone.instance.data_directory import find_data_directory
from standalone.instance.run_directory import run_directory_of
from standalone.postgres.server import database_url
from standalone.process.grpc_answer import answers_grpc
from tests.e2e.running_instance import SIMILIS, RunningInstance, data_with_shared_models, similis, until
from tests.processes import gone

CHILDREN = {
    "postgres": "bin/postgres",
    "qdrant": "local_qdrant",
    "trainer": "trainer",
    # With the embedder in the same process.
    "gateway": "gateway",
}
RESTART_SECONDS = 15.0
IDLE_BYTES = 1.2e9
# Where the number of workers does not matter, one is enough.
ONE_WORKER = {"SIMILIS_WORKERS": "1"}
SILENCE_SECONDS = 4.0


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    """A running instance, until `stopped` is used."""
    data = data_with_shared_models(tmp_path_factory.mktemp("up") / "data")
    instance = RunningInstance.start(data, environment={"SIMILIS_MAX_SILENCE_SECONDS": str(SILENCE_SECONDS)})
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def stopped(instance: RunningInstance) -> Path:
    """The data directory of `instance`, which is stopped. Tests with `instance` come first in this file."""
    stop_and_check(instance, signal.SIGTERM)
    return instance.data


def stop_and_check(instance: RunningInstance, number: signal.Signals) -> None:
    """Stop an instance with a signal and check that nothing of it is left."""
    family = instance.family()
    assert len(family) >= len(CHILDREN)
    assert instance.stop(number) == 0
    assert gone(family)
    assert not (instance.data / "run").exists()


def test_it_answers_once_it_has_printed_ready(instance: RunningInstance) -> None:
    assert instance.get("/readyz") == 200


def test_the_first_key_is_in_a_file_for_its_owner_and_nowhere_else(instance: RunningInstance) -> None:
    file = instance.data / "admin-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert instance.accepts_admin_key()
    assert instance.get("/api/verify", method="POST", key="1.wrong") == 403
    assert str(file) in instance.log()
    secret = file.read_text().strip().partition(".")[2]
    logs = [instance.log(), *(path.read_text() for path in (instance.data / "logs").iterdir())]
    assert not any(secret in log for log in logs)


def test_only_the_api_listens_on_a_port(instance: RunningInstance) -> None:
    listening = set()
    for process in instance.family():
        # Those of Postgres that serve a connection come and go.
        with suppress(psutil.NoSuchProcess):
            listening |= {
                f"http://{connection.laddr.ip}:{connection.laddr.port}"
                for connection in process.net_connections(kind="inet")
                if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
            }
    assert listening == {instance.address}


def test_a_second_instance_on_the_same_directory_is_refused(instance: RunningInstance) -> None:
    done = similis("up", "--data", str(instance.data), "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"similis: the data directory {instance.data} is in use by another 'similis' process"
    ]
    assert instance.get("/readyz") == 200


def test_keys_can_be_created_and_deleted_while_it_runs(instance: RunningInstance) -> None:
    created = similis("keys", "create", "--name", "museum", "--data", str(instance.data))
    assert created.returncode == 0, created.stderr
    key = created.stdout.strip()
    assert instance.get("/api/verify", method="POST", key=key) == 200
    listed = similis("keys", "list", "--data", str(instance.data)).stdout
    assert [line.split()[1] for line in listed.splitlines()] == ["NAME", "admin", "museum"]
    assert key.partition(".")[2] not in listed
    assert similis("keys", "delete", key.partition(".")[0], "--data", str(instance.data)).returncode == 0
    until(lambda: instance.get("/api/verify", method="POST", key=key) == 403)


@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_child_comes_back(instance: RunningInstance, name: str) -> None:
    victim = instance.child(CHILDREN[name])
    offspring = victim.children(recursive=True)
    before = instance.times_ready(name)
    victim.kill()
    until(lambda: gone([victim, *offspring]))
    until(lambda: instance.times_ready(name) == before + 1)
    until(lambda: instance.get("/readyz") == 200)
    assert instance.get("/api/collection/list") == 200


async def answers(instance: RunningInstance, name: str) -> bool:
    """Return whether a child answers a new connection within a second."""
    sockets = run_directory_of(find_data_directory(instance.data))
    try:
        async with asyncio.timeout(1):
            if name == "gateway":
                async with aiohttp.ClientSession() as session, session.get(f"{instance.address}/healthz") as response:
                    return response.status == 200
            if name == "postgres":
                await (await asyncpg.connect(database_url(sockets))).close()
                return True
            return await answers_grpc(sockets / f"{name}.sock")
    except TimeoutError:
        return False


# The gateway would notice those that stop behind it, but does not start them again.
@pytest.mark.parametrize("names", [("gateway",), ("postgres", "qdrant", "trainer")], ids=",".join)
async def test_a_child_that_hangs_is_restarted(instance: RunningInstance, names: tuple[str, ...]) -> None:
    assert all([await answers(instance, name) for name in names])
    before = {name: instance.times_ready(name) for name in names}
    victims = [instance.child(CHILDREN[name]) for name in names]
    for victim in victims:
        victim.suspend()
    assert not any(await asyncio.gather(*(answers(instance, name) for name in names)))
    until(lambda: gone(victims))
    until(lambda: {name: instance.times_ready(name) for name in names} == {name: before[name] + 1 for name in names})
    until(lambda: instance.get("/readyz") == 200)
    assert instance.accepts_admin_key()
    for name in names:
        assert any("child_hangs" in line and f"child={name} " in line for line in instance.log().splitlines())
        assert any("it hung: no answer" in line and f"child={name} " in line for line in instance.log().splitlines())


def test_a_machine_that_was_suspended_finds_its_children_as_they_were(instance: RunningInstance) -> None:
    before = instance.log().count("child_hangs")
    watching, others = psutil.Process(instance.process.pid), instance.family()
    children = {child.pid for child in watching.children()}
    # The one that watches is the last that stops, when it has asked already, and the first that goes on.
    for process in others:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        assert instance.get("/healthz", seconds=SILENCE_SECONDS / 4) == 0
        watching.suspend()
        assert instance.get("/healthz", seconds=SILENCE_SECONDS) == 0
    finally:
        for process in (watching, *others):
            with suppress(psutil.NoSuchProcess):
                process.resume()
    until(lambda: instance.get("/readyz") == 200)
    assert {child.pid for child in watching.children()} == children
    assert instance.log().count("child_hangs") == before


def test_it_uses_little_memory_while_it_is_idle(instance: RunningInstance) -> None:
    until(lambda: instance.get("/readyz") == 200)
    processes = [psutil.Process(instance.process.pid), *instance.family()]
    assert sum(anonymous_bytes(process) for process in processes) < IDLE_BYTES


def anonymous_bytes(process: psutil.Process) -> int:
    """Return the memory that a process does not share, or 0 when it has ended."""
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:")) * 1024


def test_a_restart_is_fast_and_accepts_keys_created_while_it_was_stopped(
    instance: RunningInstance, stopped: Path
) -> None:
    created = similis("keys", "create", "--name", "library", "--data", str(stopped))
    assert created.returncode == 0
    assert "not running" in created.stderr
    assert "library" in similis("keys", "list", "--data", str(stopped)).stdout

    restarted = RunningInstance.start(stopped)
    try:
        assert restarted.accepts_admin_key()
        assert restarted.get("/api/verify", method="POST", key=created.stdout.strip()) == 200
        assert restarted.log().count("api_key_created") == 1
        stop_and_check(restarted, signal.SIGINT)
    finally:
        restarted.stop()
    # On a busy machine the first start was slow too.
    assert restarted.start_seconds < max(RESTART_SECONDS, 2 * instance.start_seconds)


def test_under_nohup_it_ignores_sighup_and_after_a_kill_the_next_start_recovers(stopped: Path) -> None:
    first = RunningInstance.start(stopped, environment=ONE_WORKER, prefix=("nohup",))
    family = first.family()
    first.process.send_signal(signal.SIGHUP)
    assert similis("keys", "list", "--data", str(stopped)).returncode == 0
    assert first.process.poll() is None
    first.stop(signal.SIGKILL)

    second = RunningInstance.start(stopped, environment=ONE_WORKER)
    try:
        assert gone(family)
        assert second.accepts_admin_key()
        stop_and_check(second, signal.SIGHUP)
    finally:
        second.stop()


def test_stopping_it_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with subprocess.Popen([*SIMILIS, "up", "--data", str(data), "--port", "0"], stdout=subprocess.PIPE) as process:
        until(lambda: (data / "logs" / "postgres.log").exists())
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout is not None
        output = process.stdout.read()
    # On a busy machine it may have become ready before the signal arrived.
    assert not output or output.startswith(b"ready ")
    assert gone(family)
