"""The prefetch command puts the backbone on disk before an embedder needs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.embedder_process import MODEL_CACHE


def prefetch(**settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "embedder.prefetch"],
        env={**os.environ, "SIMILIS_DEVICE": "cpu", **{f"SIMILIS_{name}": value for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_second_run_converts_nothing() -> None:
    first, second = (prefetch(MODEL_CACHE=str(MODEL_CACHE)) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "backbone_prefetched" in second.stderr
    assert "backbone_conversion_started" not in second.stderr
    assert [path for path in MODEL_CACHE.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"BACKBONE": "./nothing-here"}, "nothing-here"),
        ({"MODEL_CACHE": "/proc/nowhere"}, "not writable"),
    ],
)
def test_a_failure_is_reported_in_one_line(settings: dict[str, str], reason: str) -> None:
    run = prefetch(LOG_LEVEL="warning", **settings)
    assert run.returncode == 1
    assert reason in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    run = prefetch(ENGINE="steam", MODEL_CACHE=str(tmp_path))
    assert (run.returncode, run.stderr.count("SIMILIS_ENGINE")) == (78, 1)
