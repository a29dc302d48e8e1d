"""The growth of memory in a soak."""

from bench.attacks.soak import SERVICES, memory_growth


def test_memory_growth_is_that_of_medians_and_not_of_single_samples() -> None:
    steady = [dict.fromkeys(SERVICES, 100.0) for _ in range(9)]
    steady[0]["gateway"] = steady[-1]["gateway"] = 500.0
    assert memory_growth(steady) == {**dict.fromkeys(SERVICES, 0.0), "all": 0.0}
    leaking = [{**dict.fromkeys(SERVICES, 100.0), "gateway": 100.0 + number} for number in range(9)]
    growth = memory_growth(leaking)
    assert growth["gateway"] == 5.9
    assert growth["trainer"] == 0.0
    assert growth["all"] == 1.5
