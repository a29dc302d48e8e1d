"""A data directory belongs to Similis and to one instance at a time."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from servicekit.process.service import StartupError
from standalone.instance import data_directory
from standalone.instance.data_directory import DataDirectory, find_data_directory, is_in_use, open_data_directory


async def test_it_is_created_with_all_folders_and_closed_to_other_users(tmp_path: Path) -> None:
    async with open_data_directory(tmp_path / "deep" / "data", min_free_bytes=0) as data:
        for directory in (data.root, data.postgres, data.qdrant, data.models, data.spool, data.logs):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    async with open_data_directory(tmp_path / "deep" / "data", min_free_bytes=0) as again:
        assert again.root == data.root


async def test_a_second_instance_is_refused_while_the_first_runs(data: DataDirectory) -> None:
    assert is_in_use(data)
    with pytest.raises(StartupError, match="is in use"):
        async with open_data_directory(data.root, min_free_bytes=0):
            pytest.fail("opened twice")


async def test_it_is_free_again_when_the_first_instance_has_stopped(tmp_path: Path) -> None:
    async with open_data_directory(tmp_path, min_free_bytes=0) as data:
        pass
    assert not is_in_use(data)


def start_child(data: DataDirectory) -> "subprocess.Popen[bytes]":
    """Start a child that ends when it gets a line."""
    command = [sys.executable, "-I", "-S", "-c", "input()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(data.children_lock,))


def names_in(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


async def test_children_that_outlive_their_supervisor_keep_the_directory_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_directory, "LEFTOVER_SECONDS", 0.2)
    async with open_data_directory(tmp_path, min_free_bytes=0) as data:
        child = start_child(data)
    with child:
        with pytest.raises(StartupError, match="processes of an earlier run"):
            async with open_data_directory(tmp_path, min_free_bytes=0):
                pytest.fail("opened beside an earlier child")
        child.communicate(b"\n")
    async with open_data_directory(tmp_path, min_free_bytes=0):
        pass


async def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StartupError, match=r"neither empty nor a data directory of Similis: it contains 'thesis.tex'"):
        async with open_data_directory(tmp_path, min_free_bytes=0):
            pytest.fail("opened a foreign directory")
    assert names_in(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("mark", "message"),
    [("", "corrupt"), ("[]", "corrupt"), ('{"layout": "x"}', "corrupt"), (json.dumps({"layout": 2}), "newer version")],
)
async def test_a_corrupt_or_newer_directory_is_refused(tmp_path: Path, mark: str, message: str) -> None:
    (tmp_path / "similis.json").write_text(mark)
    with pytest.raises(StartupError, match=message):
        async with open_data_directory(tmp_path, min_free_bytes=0):
            pytest.fail("opened")


async def test_too_little_disk_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="not enough disk space"):
        async with open_data_directory(tmp_path, min_free_bytes=1 << 62):
            pytest.fail("opened")


async def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot use the data directory"):
        async with open_data_directory(tmp_path / "file", min_free_bytes=0):
            pytest.fail("opened")


def test_looking_for_an_instance_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="is not a data directory"):
        find_data_directory(tmp_path / "nothing")
    assert names_in(tmp_path) == []
