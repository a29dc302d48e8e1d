"""A data directory is ours, for one instance at a time."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from servicekit.process.service import StartupError
from standalone.instance import data_directory
from standalone.instance.data_directory import DataDirectory, existing, in_use, opened


async def test_it_is_made_with_room_for_everything_and_closed_to_others(tmp_path: Path) -> None:
    async with opened(tmp_path / "deep" / "data", min_free_bytes=0) as data:
        for directory in (data.root, data.postgres, data.qdrant, data.models, data.spool, data.logs):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    async with opened(tmp_path / "deep" / "data", min_free_bytes=0) as again:
        assert again.root == data.root


async def test_a_second_instance_is_refused_while_the_first_runs(data: DataDirectory) -> None:
    assert in_use(data)
    with pytest.raises(StartupError, match="is in use"):
        async with opened(data.root, min_free_bytes=0):
            pytest.fail("opened twice")


async def test_it_is_free_again_after(tmp_path: Path) -> None:
    async with opened(tmp_path, min_free_bytes=0) as data:
        pass
    assert not in_use(data)


def start_child(data: DataDirectory) -> "subprocess.Popen[bytes]":
    """A child that ends when it is told to."""
    command = [sys.executable, "-I", "-S", "-c", "input()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(data.children_lock,))


def names_in(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


async def test_children_that_outlive_their_supervisor_keep_it_from_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_directory, "LEFTOVER_SECONDS", 0.2)
    async with opened(tmp_path, min_free_bytes=0) as data:
        child = start_child(data)
    with child:
        with pytest.raises(StartupError, match="processes of an earlier run"):
            async with opened(tmp_path, min_free_bytes=0):
                pytest.fail("opened beside a leftover")
        child.communicate(b"\n")
    async with opened(tmp_path, min_free_bytes=0):
        pass


async def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StartupError, match=r"not empty \(it holds 'thesis.tex'\)"):
        async with opened(tmp_path, min_free_bytes=0):
            pytest.fail("took a foreign directory")
    assert names_in(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("mark", "message"),
    [("", "corrupt"), ("[]", "corrupt"), ('{"layout": "x"}', "corrupt"), (json.dumps({"layout": 2}), "newer version")],
)
async def test_a_mark_that_is_broken_or_newer_is_refused(tmp_path: Path, mark: str, message: str) -> None:
    (tmp_path / "similis.json").write_text(mark)
    with pytest.raises(StartupError, match=message):
        async with opened(tmp_path, min_free_bytes=0):
            pytest.fail("opened")


async def test_too_little_space_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="too little disk space"):
        async with opened(tmp_path, min_free_bytes=1 << 62):
            pytest.fail("opened")


async def test_a_file_in_place_of_the_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot use the data directory"):
        async with opened(tmp_path / "file", min_free_bytes=0):
            pytest.fail("opened")


def test_only_an_existing_instance_is_found(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="is not a data directory"):
        existing(tmp_path / "nothing")
    assert names_in(tmp_path) == []
