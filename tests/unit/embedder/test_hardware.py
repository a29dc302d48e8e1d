"""The plan for the machine, and the cores that a process may use."""

import os
from pathlib import Path

import pytest

from embedder.config import EmbedderSettings
from embedder.hardware import HardwareError, plan_hardware, usable_cores

AFFINITY = len(os.sched_getaffinity(0))


def test_a_gpu_is_used_in_stages() -> None:
    plan = plan_hardware(EmbedderSettings(), cuda=True, cores=16)
    assert (plan.device, plan.engine, plan.staged, plan.workers) == ("cuda", "torch", True, 15)


def test_a_cpu_is_used_by_workers_that_decode_and_infer() -> None:
    plan = plan_hardware(EmbedderSettings(), cuda=False, cores=16)
    assert (plan.device, plan.engine, plan.staged) == ("cpu", "openvino", False)
    assert (plan.workers, plan.threads) == (8, 2)


def test_searches_have_workers_of_their_own_for_two_cores_at_most() -> None:
    assert [plan_hardware(EmbedderSettings(), cuda=False, cores=cores).interactive for cores in (1, 2, 16)] == [1, 2, 2]
    assert plan_hardware(EmbedderSettings(interactive_workers=0), cuda=False, cores=2).interactive == 0


def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(HardwareError, match="SIMILIS_DEVICE"):
        plan_hardware(EmbedderSettings(device="cuda"), cuda=False)


def test_the_fused_pipeline_on_a_gpu_is_refused() -> None:
    with pytest.raises(HardwareError, match="SIMILIS_PIPELINE"):
        plan_hardware(EmbedderSettings(pipeline="fused"), cuda=True)


def test_a_batch_has_room_for_an_image_and_its_views() -> None:
    plan = plan_hardware(EmbedderSettings(max_batch=4, max_views=16), cuda=False, cores=2)
    assert plan.max_batch == 17
    assert plan.slots >= plan.max_batch


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == AFFINITY
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == AFFINITY


def test_a_quota_is_rounded_up(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert usable_cores(tmp_path) == min(AFFINITY, 2)


def test_a_quota_of_cgroup_v1_counts_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert usable_cores(tmp_path) == AFFINITY
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    assert usable_cores(tmp_path) == 1
