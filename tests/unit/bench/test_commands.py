import subprocess
import sys
from pathlib import Path

import pytest

import bench

FOLDER = Path(bench.__file__).parent
FILES = {
    path.stem: path
    for pattern in ("[a-z]*.py", "search/[a-z]*.py", "answers/[a-z]*.py")
    for path in sorted(FOLDER.glob(pattern))
}
COMMANDS = sorted(FILES)
RUN_HELP = Path(__file__).with_name("run_help.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the exit status, the output and the errors of each benchmark with `--help`."""
    folder = tmp_path_factory.mktemp("help")
    files = [FILES[command] for command in COMMANDS]
    subprocess.run([sys.executable, RUN_HELP, folder, *files], cwd=folder, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_benchmark_starts_by_its_file_from_anywhere(command: str, results: Path) -> None:
    status, output, errors = ((results / f"{command}.{suffix}").read_text() for suffix in ("status", "out", "err"))
    assert (status, errors) == ("0", "")
    assert output.startswith("usage: ")


def test_all_benchmarks_are_listed() -> None:
    assert [command for command in COMMANDS if command not in (bench.__doc__ or "")] == []
