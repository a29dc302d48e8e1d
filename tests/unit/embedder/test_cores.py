"""Processors that may be used: affinity and the container's quota."""

import os
from pathlib import Path

from embedder.hardware import usable_cores

ALL = len(os.sched_getaffinity(0))


def test_without_a_quota_it_is_the_affinity(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALL
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == ALL


def test_a_quota_is_rounded_up_and_never_zero(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert usable_cores(tmp_path) == min(ALL, 2)


def test_the_first_version_of_cgroups_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert usable_cores(tmp_path) == ALL
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    assert usable_cores(tmp_path) == 1
