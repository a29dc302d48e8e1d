"""The simulated cluster agrees with queueing theory, and with what an outage must do."""

from math import inf

import pytest

from bench.parts.search.cluster import Cluster, Outage, StepTimes, simulate
from bench.search.capacity import Wanted, planned, qdrant_nodes

# One step that matters, of a constant length.
WORKER_ONLY = StepTimes(gateway=0.0, router=0.0, worker=0.010, query=0.0, hop=0.0, rows=0.0, variation=0.0)
ONE = Cluster(gateways=1, embedders=1, embedder_cores=1, qdrant_nodes=1)


def test_waiting_agrees_with_the_formula_of_pollaczek_and_khinchine() -> None:
    # Random arrivals at one core that takes 10 ms: at 50 % the mean wait is half a step, at 80 % two steps.
    for rate, wait in ((50, 0.005), (80, 0.020)):
        outcome = simulate(ONE, rate, seconds=250, times=WORKER_ONLY)
        assert outcome.latencies.mean() == pytest.approx(0.010 + wait, rel=0.1)
        assert outcome.busy["embedder"] == pytest.approx(rate / 100, rel=0.05)


def test_a_search_alone_takes_as_long_as_its_steps() -> None:
    times = StepTimes(variation=0.0)
    outcome = simulate(Cluster(), 0.5, seconds=100, times=times)
    alone = times.gateway + times.router + times.worker + times.query + times.rows + 3 * times.hop
    assert outcome.quantile(0.5) == pytest.approx(alone)


def test_an_outage_delays_a_share_of_the_searches_until_it_is_noticed() -> None:
    cluster = Cluster(gateways=2, embedders=2, qdrant_nodes=2)
    outage = Outage(begin=20.0, seconds=inf, notice=2.0)
    outcome = simulate(cluster, 20, seconds=60, times=WORKER_ONLY, outage=outage)
    delayed = (outcome.latencies >= 2.0).sum()
    # For 2 s, at least half of 20 searches a second met a replica that was down.
    assert 20 <= delayed <= 50
    assert outcome.quantile(0.9) < 0.1


def test_a_service_with_one_replica_cannot_lose_it() -> None:
    with pytest.raises(ValueError, match="one replica"):
        simulate(ONE, 1, seconds=1, outage=Outage(0.0, 1.0))


def test_a_plan_holds_its_time_with_one_replica_of_each_service_down() -> None:
    plan = planned(Wanted(rate=200, p99=0.06, images=1e6), StepTimes(), seconds=20)
    assert plan is not None
    assert plan.reduced.quantile(0.99) <= 0.06
    assert plan.whole.quantile(0.99) <= plan.reduced.quantile(0.99)
    smaller = Cluster(gateways=2, embedders=2, qdrant_nodes=2)
    assert plan.cluster.cores > smaller.cores
    assert simulate(smaller, 200, seconds=20, outage=Outage(0.0, inf, 0.0)).quantile(0.99) > 0.06


def test_there_is_no_plan_for_less_time_than_one_search_takes() -> None:
    assert planned(Wanted(rate=1, p99=0.005, images=1e6), StepTimes(), seconds=2) is None


@pytest.mark.parametrize(("images", "nodes"), [(1e5, 2), (1e8, 3), (1e9, 22)])
def test_nodes_follow_from_the_memory_of_the_vectors(images: float, nodes: int) -> None:
    assert qdrant_nodes(images) == nodes
