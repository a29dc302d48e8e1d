"""Prometheus' own tool, which judges what we show."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[1] / "build" / "tools" / "bin" / "promtool"


def promtool() -> str:
    """Where it is. Skips the test that asks where it is not installed, and fails it in CI."""
    found = shutil.which("promtool") or (str(BUILT) if BUILT.exists() else None)
    if found is None:
        message = "promtool is not installed (Debian: prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def check_metrics(exposition: bytes) -> str:
    """What `promtool check metrics` complains about; empty if nothing."""
    run = subprocess.run([promtool(), "check", "metrics"], input=exposition, capture_output=True, check=False)
    complaints = (run.stdout + run.stderr).decode()
    return complaints or ("" if run.returncode == 0 else f"exit status {run.returncode}")
