"""Inputs that fuzzing found, or began with, are read without a defect."""

import pytest

from tests.fuzz.targets import SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_read_without_a_defect(name: str) -> None:
    seeds = sorted((SEEDS / name).iterdir())
    assert len(seeds) >= 10
    for seed in seeds:
        TARGETS[name](seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_read_without_a_defect_when_it_is_cut_off(name: str) -> None:
    for seed in sorted((SEEDS / name).iterdir()):
        data = seed.read_bytes()
        for percent in range(0, 100, 10):
            TARGETS[name](data[: len(data) * percent // 100])
