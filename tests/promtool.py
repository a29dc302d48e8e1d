"""Check metrics with promtool, the command-line tool of Prometheus."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[1] / "build" / "tools" / "bin" / "promtool"


def promtool() -> str:
    """Return the path of promtool. If it is not installed, skip the test, or fail it in CI."""
    found = shutil.which("promtool") or (str(BUILT) if BUILT.exists() else None)
    if found is None:
        message = "promtool is not installed (Debian: prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def check_metrics(exposition: bytes) -> str:
    """Return the complaints of `promtool check metrics`, or an empty text."""
    run = subprocess.run([promtool(), "check", "metrics"], input=exposition, capture_output=True, check=False)
    complaints = (run.stdout + run.stderr).decode()
    return complaints or ("" if run.returncode == 0 else f"exit status {run.returncode}")
