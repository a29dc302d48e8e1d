"""The limit finds the concurrency from which on more work at once only takes longer."""

from gateway.admission.adaptive_limit import AdaptiveLimit


def work(limit: AdaptiveLimit, *, cores: int, seconds: float, pieces: int = 400, kind: int = 0) -> None:
    """Complete work on a machine whose cores share it evenly. As much as the limit allows is always there."""
    for _ in range(pieces):
        limit.reached()
        limit.completed(kind, seconds * max(1.0, limit.value / cores), alone=limit.value == 1)


def test_the_limit_settles_above_the_number_of_cores() -> None:
    for cores in (1, 2, 4, 12):
        limit = AdaptiveLimit(32)
        limit.completed(0, 0.02, alone=True)
        work(limit, cores=cores, seconds=0.02)
        assert cores < limit.value <= 3.5 * cores


def test_the_limit_recovers_after_the_work_has_become_larger() -> None:
    limit = AdaptiveLimit(32)
    limit.completed(0, 0.02, alone=True)
    work(limit, cores=8, seconds=0.02)
    work(limit, cores=8, seconds=0.2)
    assert limit.value >= 6


def test_work_of_a_large_kind_does_not_lower_the_limit() -> None:
    limit = AdaptiveLimit(32)
    for kind, seconds in ((0, 0.01), (20, 0.3)):
        limit.completed(kind, seconds, alone=True)
    for _ in range(20):
        work(limit, cores=8, seconds=0.01, pieces=10)
        work(limit, cores=8, seconds=0.3, pieces=10, kind=20)
    assert limit.value >= 8


def test_the_limit_never_leaves_its_bounds() -> None:
    limit = AdaptiveLimit(6, least=2)
    limit.completed(0, 0.01, alone=True)
    work(limit, cores=100, seconds=0.01)
    assert limit.value == 6
    work(limit, cores=1, seconds=5.0, pieces=6)
    work(limit, cores=1, seconds=5.0, pieces=30)
    assert limit.value >= 2


def test_the_limit_stays_where_nothing_waits() -> None:
    limit = AdaptiveLimit(32)
    for _ in range(100):
        limit.completed(0, 0.01, alone=True)
    assert limit.value == 8
