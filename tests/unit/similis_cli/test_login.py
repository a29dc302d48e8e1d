"""Addresses and keys: options, environment and the stored login."""

import io
import stat
from pathlib import Path

import pytest

from similis_cli.config import login_file
from tests.unit.similis_cli.conftest import Commands

VALID = {"message": "API key is valid", "scope": "write", "expires_at": "2027-01-31T00:00:00Z"}
NONE: dict[str, list[object]] = {"names": []}


def key_file(home: Path, key: str = "from a file") -> str:
    file = home / "key"
    file.write_text(key.replace(" ", "-") + "\n")
    return str(file)


async def sent_key(commands: Commands, *arguments: str) -> str | None:
    """Return the key that a command sends."""
    commands.service.answers = []
    commands.service.answer(NONE)
    assert (await commands.run("list", *arguments)).status == 0
    return commands.service.received[-1].headers.get("API-Key")


async def test_a_login_is_stored_for_its_owner_and_never_shown(commands: Commands, home: Path) -> None:
    commands.service.answer(VALID)
    ended = await commands.run("login", "--key-file", key_file(home))
    assert ended.status == 0
    assert "It allows: write. It expires on 2027-01-31." in ended.output
    assert "from-a-file" not in ended.output + ended.errors
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(login_file().parent.stat().st_mode) == 0o700
    assert await sent_key(commands) == "from-a-file"


async def test_a_key_can_come_from_standard_input(
    commands: Commands, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from-stdin\n"))
    commands.service.answer(VALID)
    assert (await commands.run("login")).status == 0
    assert await sent_key(commands) == "from-stdin"


async def test_a_key_that_is_not_valid_is_not_stored(commands: Commands, home: Path) -> None:
    commands.service.refuse(403, "forbidden")
    assert (await commands.run("login", "--key-file", key_file(home))).status == 3
    assert not login_file().exists()


async def test_options_win_over_the_environment_and_that_over_the_login(
    commands: Commands, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.service.answer(VALID)
    await commands.run("login", "--key-file", key_file(home, "stored"))
    assert await sent_key(commands) == "stored"
    monkeypatch.setenv("SIMILIS_API_KEY", "from-the-environment")
    assert await sent_key(commands) == "from-the-environment"
    assert await sent_key(commands, "--key-file", key_file(home)) == "from-a-file"


async def test_a_stored_key_goes_only_to_its_service(
    commands: Commands, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.service.answer(VALID)
    await commands.run("login", "--key-file", key_file(home))
    assert await sent_key(commands, "--url", f"{commands.service.url}/api/") == "from-a-file"
    assert await sent_key(commands, "--url", commands.service.url.replace("127.0.0.1", "localhost")) is None
    monkeypatch.delenv("SIMILIS_URL")
    assert await sent_key(commands) == "from-a-file", "the address of the login is the default"


async def test_logout_forgets_the_key(commands: Commands, home: Path) -> None:
    commands.service.answer(VALID)
    await commands.run("login", "--key-file", key_file(home))
    assert (await commands.run("logout")).status == 0
    assert "from-a-file" not in login_file().read_text()
    assert await sent_key(commands) is None
    assert (await commands.run("logout")).status == 1


async def test_a_login_that_others_can_read_is_refused(commands: Commands, home: Path) -> None:
    commands.service.answer(VALID)
    await commands.run("login", "--key-file", key_file(home))
    login_file().chmod(0o644)
    ended = await commands.run("list")
    assert (ended.status, f"chmod 600 {login_file()}" in ended.errors) == (78, True)


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"url": 1}'])
async def test_a_damaged_login_is_named(commands: Commands, home: Path, content: str) -> None:
    login_file().parent.mkdir(parents=True)
    login_file().write_text(content)
    login_file().chmod(0o600)
    ended = await commands.run("list")
    assert (ended.status, "is damaged" in ended.errors) == (78, True)


@pytest.mark.parametrize("content", ["", "two words", "two\nlines"])
async def test_a_file_without_a_key_is_named(commands: Commands, home: Path, content: str) -> None:
    file = home / "key"
    file.write_text(content)
    ended = await commands.run("list", "--key-file", str(file))
    assert (ended.status, "does not hold an API key" in ended.errors) == (78, True)
