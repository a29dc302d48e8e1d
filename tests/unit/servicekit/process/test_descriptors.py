"""A process may have as many descriptors as the operating system allows."""

import subprocess
import sys

import pytest

PROGRAM = "from servicekit.process.descriptors import *; print(raise_descriptor_limit(), descriptor_limit())"


@pytest.mark.parametrize(("soft", "hard"), [(100, 300), (300, 300)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int) -> None:
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    shown = subprocess.run([sys.executable, "-c", limits + PROGRAM], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [str(hard), str(hard)]
