"""The commands that the server adds, and how fast a command starts."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from similis_cli import server_commands
from similis_cli.main import main
from standalone import cli
from tests.packages import PYPROJECT
from tests.unit.similis_cli.conftest import Commands

GROUP = PYPROJECT["project"]["entry-points"][server_commands.GROUP]
# What the client must not need: it is installed without the server.
HEAVY = {"torch", "numpy", "grpc", "asyncpg", "qdrant_client", "standalone", "servicekit", "aiohttp"}


def entry_points(names: dict[str, str]) -> Callable[..., EntryPoints]:
    """Return a function that finds the given commands, like the one of an installed server."""
    installed = EntryPoints(EntryPoint(name, value, server_commands.GROUP) for name, value in names.items())
    return lambda **wanted: installed.select(**wanted)


@pytest.fixture
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_commands, "entry_points", entry_points(GROUP))


def test_every_command_of_the_server_is_declared() -> None:
    (commands,) = [action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(GROUP) == set(commands.choices)
    assert {name: EntryPoint(name, value, "").load().name for name, value in GROUP.items()} == {n: n for n in GROUP}


def test_only_the_client_installs_a_program() -> None:
    assert "scripts" not in PYPROJECT["project"]


@pytest.mark.usefixtures("_server")
async def test_the_help_lists_them(commands: Commands) -> None:
    ended = await commands.run("--help")
    assert ended.status == 0
    assert all(f" {name} " in ended.output for name in (*GROUP, "import", "search", "images"))


async def test_the_client_alone_has_only_its_own(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_commands, "entry_points", entry_points({}))
    assert " migrate-from " not in (await commands.run("--help")).output
    assert (await commands.run("up")).status == 2


@pytest.mark.usefixtures("_server")
@pytest.mark.parametrize(
    "arguments",
    [("up", "--port", "70000"), ("keys",), ("keys", "delete", "one"), ("migrate", "--unknown"), ("check", "nonsense")],
)
def test_they_refuse_wrong_usage_as_before(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: similis ")


@pytest.mark.usefixtures("_server")
def test_they_have_their_exit_statuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    database = ("--database-url", "postgresql://nobody@127.0.0.1:1/x")
    assert main(("migrate", *database)) == 1
    monkeypatch.setenv("SIMILIS_LOG_LEVEL", "nonsense")
    assert main(("migrate", *database)) == 78
    assert "SIMILIS_LOG_LEVEL" in capsys.readouterr().err


def test_help_needs_none_of_the_heavy_packages() -> None:
    code = "import sys; from similis_cli.main import main; main(['list', '--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.strip("'[] ").partition(".")[0] for name in done.stdout.splitlines()[-1].split(",")}
    assert "similis_cli" in loaded
    assert loaded & HEAVY == set()
