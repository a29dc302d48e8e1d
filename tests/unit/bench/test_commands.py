import subprocess
import sys
from pathlib import Path

import pytest

import bench

FOLDER = Path(bench.__file__).parent
COMMANDS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_benchmark_starts_by_its_file_from_anywhere(command: str, tmp_path: Path) -> None:
    asked = [sys.executable, str(FOLDER / f"{command}.py"), "--help"]
    answer = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("usage: ")


def test_all_benchmarks_are_listed() -> None:
    assert [command for command in COMMANDS if command not in (bench.__doc__ or "")] == []
