"""The Makefile sets up what the README promises."""

import subprocess

import pytest

from tests.deploy.chart import ROOT

INDEX = "https://index.example.org/cpu"


def commands(*variables: str) -> str:
    """Return what `make setup` would run in a new checkout."""
    arguments = ["make", "--dry-run", "--always-make", "--no-print-directory", "setup", "VENV=build/none", *variables]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("index", ["", INDEX])
def test_torch_comes_from_the_chosen_index_before_the_rest_is_installed(index: str) -> None:
    printed = commands(f"TORCH_INDEX={index}")
    assert "2 GB with torch's CPU build and 6 GB with its CUDA build" in printed
    torch, rest = printed.index("--no-deps --index-url"), printed.index("-e ./client -e")
    assert torch < rest
    assert f'test -z "{index}"' in printed
    assert f'--index-url "{index}" torch' in printed
