"""Sockets have short paths, in a directory that nobody else can enter."""

import socket
import stat
from pathlib import Path

import pytest

from servicekit.process.service import StartupError
from standalone.instance.data_directory import opened
from standalone.instance.run_directory import LONGEST_SOCKET, MAX_SOCKET_PATH, location, run_directory


async def test_it_lies_in_the_data_directory_when_that_is_short(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("short") / "d"
    async with opened(root, min_free_bytes=0) as data:
        with run_directory(data) as path:
            assert path == root / "run"
        assert not path.exists()


@pytest.mark.parametrize("name", ["long" * 30, "with space", "ünïcode", "per%cent"])
async def test_it_lies_in_tmp_when_a_socket_could_not_be_named(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name, min_free_bytes=0) as data:
        data.cluster.mkdir()
        with run_directory(data) as path:
            assert path.parent == Path("/tmp")
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            assert len(str(path / LONGEST_SOCKET)) <= MAX_SOCKET_PATH
            assert location(data) == path
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path / LONGEST_SOCKET))
            assert (data.cluster / ".s.PGSQL.5432").is_socket()
        assert not path.exists()


async def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    async with opened(tmp_path / "d", min_free_bytes=0) as data:
        left = location(data)
        left.mkdir(mode=0o700)
        (left / "embedder.sock").touch()
        (left / "postgres").symlink_to("/nowhere")
        with run_directory(data) as path:
            assert [entry.name for entry in path.iterdir()] == ["postgres"]
            assert (path / "postgres").readlink() == data.cluster


async def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "d", min_free_bytes=0) as data:
        location(data).mkdir(mode=0o755)
        with pytest.raises(StartupError, match="not a private directory"), run_directory(data):
            pytest.fail("entered")
        location(data).rmdir()
        location(data).symlink_to(tmp_path)
        with pytest.raises(StartupError, match="not a private directory"), run_directory(data):
            pytest.fail("entered")
