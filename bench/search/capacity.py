"""Say which cluster answers a number of searches a second within a time, also while a replica of each service is down.

    python bench/search/capacity.py [--rates 10 100 1000] [--p99-ms 100 250] [--images 100000000] [--seconds 60]

Each service is a queue for its cores, simulated (`bench/parts/search/cluster.py`) from CPU times that were measured
(`docs/performance.md`). Set your own with `--worker-ms` and the like. The result is the smallest cluster in which the
99th percentile holds with one replica of each service down. The memory and disk of Qdrant follow from the number of
images.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.parts.search.cluster import Cluster, Outage, Outcome, StepTimes, simulate

# Bytes for each image (docs/scaling.md): in the memory of Qdrant, and on its disks.
MEMORY_BYTES, DISK_BYTES = 460, 6800
REPLICATION = 2
# The part of a node's memory that vectors may fill.
FILLED = 2 / 3
NODE_MEMORY_BYTES = 64e9
# No service is planned to be busier than this, whatever the simulation says: bursts are not random arrivals.
MOST_BUSY = 0.8
MOST_STEPS = 200


@dataclass(frozen=True)
class Wanted:
    """rate: searches a second. p99: in seconds. images: in all collections."""

    rate: float
    p99: float
    images: float


@dataclass(frozen=True)
class Plan:
    """A cluster, and what it does with all its replicas and with one of each service down."""

    cluster: Cluster
    whole: Outcome
    reduced: Outcome


def planned(wanted: Wanted, times: StepTimes, *, seconds: float, nodes: int | None = None) -> Plan | None:
    """Return the smallest cluster that holds the time; None if none does, because one search alone takes longer."""
    for cluster in _growing(wanted, times, nodes or qdrant_nodes(wanted.images)):
        reduced = simulate(cluster, wanted.rate, seconds=seconds, times=times, outage=Outage(0.0, math.inf, 0.0))
        if reduced.quantile(0.99) <= wanted.p99:
            return Plan(cluster, simulate(cluster, wanted.rate, seconds=seconds, times=times), reduced)
    return None


def qdrant_nodes(images: float) -> int:
    """Return how many nodes hold the vectors, with another one down."""
    memory = images * MEMORY_BYTES * REPLICATION / FILLED
    return max(math.ceil(memory / NODE_MEMORY_BYTES), REPLICATION + 1 if images > 1e7 else REPLICATION)


def _growing(wanted: Wanted, times: StepTimes, nodes: int) -> Iterator[Cluster]:
    """Yield ever larger clusters. With one replica of each service down, none is busier than MOST_BUSY."""
    needed = wanted.rate / MOST_BUSY
    gateways = 1 + max(math.ceil(needed * times.gateway), 1)
    cluster = Cluster(gateways=gateways, embedders=2, qdrant_nodes=nodes)
    alone = max(math.ceil(needed * times.router), math.ceil(needed * times.worker / cluster.embedder_cores), 1)
    cluster = replace(cluster, embedders=1 + alone)
    while (cluster.qdrant_nodes - 1) * cluster.qdrant_cores < needed * times.query * cluster.shards:
        cluster = replace(cluster, qdrant_nodes=cluster.qdrant_nodes + 1)
    for step in range(MOST_STEPS):
        yield cluster
        # Searches wait longest for embedders; every third step adds a gateway.
        larger = {"gateways": cluster.gateways + 1} if step % 3 == 2 else {"embedders": cluster.embedders + 1}
        cluster = replace(cluster, **larger)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 1000], help="searches a second")
    parser.add_argument("--p99-ms", type=float, nargs="+", default=[100, 250])
    parser.add_argument("--images", type=float, default=1e8)
    parser.add_argument("--seconds", type=float, default=60, help="simulated time")
    for name in ("gateway", "router", "worker", "query"):
        default = getattr(StepTimes(), name) * 1000
        parser.add_argument(f"--{name}-ms", type=float, default=default, help=f"CPU time; default {default:g}")
    given = parser.parse_args()
    times = StepTimes(
        gateway=given.gateway_ms / 1000,
        router=given.router_ms / 1000,
        worker=given.worker_ms / 1000,
        query=given.query_ms / 1000,
    )
    print(f"{given.images:,.0f} images: {given.images * DISK_BYTES * REPLICATION / 1e12:.2f} TB on disk in all")
    print(
        "| searches/s | p99 wanted, ms | gateways | embedders × 2 cores | Qdrant nodes × 4 cores, 64 GB | cores "
        "| p50, p99, ms | with one of each down |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for rate in given.rates:
        for p99 in given.p99_ms:
            plan = planned(Wanted(rate, p99 / 1000, given.images), times, seconds=given.seconds)
            if plan is None:
                print(f"| {rate:g} | {p99:g} | none: one search alone takes longer | | | | | |")
                continue
            cluster = plan.cluster
            both = [_latencies(outcome) for outcome in (plan.whole, plan.reduced)]
            print(
                f"| {rate:g} | {p99:g} | {cluster.gateways} | {cluster.embedders} | {cluster.qdrant_nodes} "
                f"| {cluster.cores} | {both[0]} | {both[1]} |",
                flush=True,
            )


def _latencies(outcome: Outcome) -> str:
    return f"{1000 * outcome.quantile(0.5):.0f}, {1000 * outcome.quantile(0.99):.0f}"


if __name__ == "__main__":
    main()
