"""The command line on a real terminal: questions, interrupts, and terminals that are narrow."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.similis_cli.conftest import Commands, Terminal

ONE = {"names": [{"value": 1, "id": 1, "name": "coins"}]}
RESULTS = {
    "results": [
        {
            "image_url": f"https://images.example.org/{number}/full/512,/0/default.jpg",
            "repo_url": "https://repository.example.org/coins/1",
            "score": 0.9,
            "image_id": number,
            "percentile": 99.0,
            "false_match_rate": 0.01,
        }
        for number in (1, 2)
    ],
    "index_id": 1,
}
SECONDS = 30


class Asked:
    """`similis login` on a pseudo-terminal."""

    def __init__(self, home: Path) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "similis_cli", "login"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        )
        os.close(theirs)
        self._seen, self._read = "", 0

    def until(self, text: str) -> None:
        """Read until a text appears behind the last one."""
        end = time.monotonic() + SECONDS
        while text not in self._seen[self._read :]:
            ready, _, _ = select.select([self._ours], [], [], max(0, end - time.monotonic()))
            assert ready, self._seen
            self._seen += os.read(self._ours, 4096).decode()
        self._read = self._seen.index(text, self._read) + len(text)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def asked(home: Path) -> Iterator[Asked]:
    command = Asked(home)
    yield command
    command.close()


def test_an_address_that_is_not_valid_is_asked_for_again(asked: Asked) -> None:
    asked.until("Address of the service")
    asked.type("127.0.0.1:8080\n")
    asked.until("must begin with http://")
    asked.until("Address of the service")
    asked.type("http://127.0.0.1:9\n")
    asked.until("API key (not shown)")


def test_an_interrupted_question_has_the_status_of_an_interrupt(asked: Asked) -> None:
    asked.until("Address of the service")
    # Ctrl-D. Where tests run in the background, Ctrl-C is ignored.
    asked.type("\x04")
    assert asked.process.wait(SECONDS) == 130


async def test_nothing_found_is_said_on_standard_error_of_a_pipe(commands: Commands, home: Path) -> None:
    image = home / "image.jpg"
    image.write_bytes(b"image")
    commands.service.answer({"names": []})
    commands.service.answer({"results": [], "skipped": [], "warnings": []})
    ended = await commands.run("search", str(image))
    assert (ended.status, ended.output) == (0, "")
    assert "There is no collection to search" in ended.errors
    assert "No results." in ended.errors


async def test_a_missing_file_is_said_before_the_service_is_asked(commands: Commands, home: Path) -> None:
    for path, problem in ((home / "none.jpg", "No such file"), (home, "directory")):
        ended = await commands.run("search", str(path))
        assert (ended.status, problem in ended.errors) == (1, True)
    assert commands.service.received == []


@pytest.mark.parametrize(("columns", "is_table"), [(100, True), (60, False), (30, False)])
async def test_nothing_is_cut_off_on_a_narrow_terminal(
    commands: Commands, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, *, columns: int, is_table: bool
) -> None:
    terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    # A dumb terminal has 80 columns, whatever it says.
    monkeypatch.setenv("TERM", "xterm")
    commands.service.answer(ONE)
    commands.service.answer(RESULTS)
    ended = await commands.run("search", "https://images.example.org/query.jpg")
    assert ("─" in ended.output) == is_table
    text = "".join(ended.output.split())
    if is_table:
        assert "https://images.example.org/2/fu" in text
        assert "ll/512,/0/default.jpg" in text
    else:
        assert "Image2URLhttps://images.example.org/2/full/512,/0/default.jpg" in text
        assert ended.output.count("https://repository.example.org/coins/1\n") == 2


async def test_a_message_ends_before_the_next_sentence(commands: Commands) -> None:
    commands.service.answer(
        {"status": 403, "code": "forbidden", "detail": "Invalid API key", "request_id": "r", "message": "m"}, 403
    )
    assert "Invalid API key. Set the key with" in (await commands.run("list")).errors
