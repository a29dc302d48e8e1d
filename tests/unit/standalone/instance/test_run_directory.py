"""Sockets have short paths in a directory that no other user can enter."""

import socket
import stat
from pathlib import Path

import pytest

from servicekit.process.service import StartupError
from standalone.instance.data_directory import open_data_directory
from standalone.instance.run_directory import LONGEST_SOCKET, MAX_SOCKET_PATH, run_directory, run_directory_of


async def test_it_is_in_the_data_directory_when_the_path_is_short(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("short") / "d"
    async with open_data_directory(root, min_free_bytes=0) as data:
        with run_directory(data) as path:
            assert path == root / "run"
        assert not path.exists()


@pytest.mark.parametrize("name", ["long" * 30, "with space", "ünïcode", "per%cent"])
async def test_it_is_in_tmp_when_the_path_is_not_fit_for_a_socket(tmp_path: Path, name: str) -> None:
    async with open_data_directory(tmp_path / name, min_free_bytes=0) as data:
        data.cluster.mkdir()
        with run_directory(data) as path:
            assert path.parent == Path("/tmp")
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            assert len(str(path / LONGEST_SOCKET)) <= MAX_SOCKET_PATH
            assert run_directory_of(data) == path
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path / LONGEST_SOCKET))
            assert (data.cluster / ".s.PGSQL.5432").is_socket()
        assert not path.exists()


async def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    async with open_data_directory(tmp_path / "d", min_free_bytes=0) as data:
        left = run_directory_of(data)
        left.mkdir(mode=0o700)
        (left / "embedder.sock").touch()
        (left / "postgres").symlink_to("/nowhere")
        with run_directory(data) as path:
            assert [entry.name for entry in path.iterdir()] == ["postgres"]
            assert (path / "postgres").readlink() == data.cluster


async def test_a_directory_that_another_user_could_enter_is_refused(tmp_path: Path) -> None:
    async with open_data_directory(tmp_path / "d", min_free_bytes=0) as data:
        run_directory_of(data).mkdir(mode=0o755)
        with pytest.raises(StartupError, match="not a private directory"), run_directory(data):
            pytest.fail("entered")
        run_directory_of(data).rmdir()
        run_directory_of(data).symlink_to(tmp_path)
        with pytest.raises(StartupError, match="not a private directory"), run_directory(data):
            pytest.fail("entered")
