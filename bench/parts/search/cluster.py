"""A cluster that answers searches, simulated event by event from the CPU time that each step takes.

A search passes a gateway, an embedder, Qdrant and the gateway again. Each core serves one step at a time, and steps
wait in the order in which they arrive. Clients of a service balance over its replicas, as gRPC does (round robin). A
replica that is down is not asked, but for the time that its clients need to notice it.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StepTimes:
    """CPU seconds of a search in each part. variation: the standard deviation of a step, as a share of its mean.

    hop: seconds between two parts, in which no core is busy: the network, and Postgres for the rows.
    """

    gateway: float = 0.0030
    router: float = 0.0012
    worker: float = 0.0107
    query: float = 0.0016
    hop: float = 0.0005
    rows: float = 0.0010
    variation: float = 0.4


@dataclass(frozen=True)
class Cluster:
    """Replicas of each service, and the cores of each replica. A gateway uses one core.

    The front process of an embedder briefly uses one more. shards: how many nodes of Qdrant answer each query, which
    takes as long as the slowest of them.
    """

    gateways: int = 2
    embedders: int = 2
    embedder_cores: int = 2
    qdrant_nodes: int = 3
    qdrant_cores: int = 4
    shards: int = 1

    @property
    def cores(self) -> int:
        """All cores of the services."""
        return self.gateways + self.embedders * self.embedder_cores + self.qdrant_nodes * self.qdrant_cores


@dataclass(frozen=True)
class Outage:
    """One replica of each service goes down at once, for `seconds` from `begin`.

    notice: how long its clients still send to it. Such a request is sent again, to another replica, after that time.
    """

    begin: float
    seconds: float
    notice: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """latencies: of the searches that arrived after the warm-up, in seconds, in the order of arrival.

    busy: by service, the share of the time in which its cores worked.
    """

    latencies: Seconds
    busy: dict[str, float]

    def quantile(self, share: float) -> float:
        """Return the latency that this share of the searches does not exceed."""
        return float(np.quantile(self.latencies, share))


class _Cores:
    """The cores of one replica, and the steps that wait for one."""

    def __init__(self, events: "_Events", cores: int) -> None:
        self._events = events
        self._free = cores
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self.worked = 0.0

    def run(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` once a core has worked for so long."""
        if not self._free:
            self._waiting.append((seconds, then))
            return
        self._free -= 1
        self._start(seconds, then)

    def _start(self, seconds: float, then: Callable[[], None]) -> None:
        self.worked += seconds

        def end() -> None:
            if self._waiting:
                self._start(*self._waiting.popleft())
            else:
                self._free += 1
            then()

        self._events.after(seconds, end)


class _Events:
    """Calls functions at simulated times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._numbers), call))

    def run(self) -> None:
        while self._heap:
            self.now, _, call = heapq.heappop(self._heap)
            call()


@dataclass
class _Service:
    """The replicas of one service. The first one is that of the outage."""

    replicas: list[_Cores]
    outage: Outage | None
    events: _Events
    turn: "itertools.count[int]" = field(default_factory=itertools.count)

    def run(self, seconds: float, then: Callable[[], None]) -> None:
        """Run a step on the next replica in turn."""
        number = next(self.turn) % len(self.replicas)
        if number or self.outage is None or not 0 <= self.events.now - self.outage.begin < self.outage.seconds:
            self.replicas[number].run(seconds, then)
        elif self.events.now - self.outage.begin < self.outage.notice:
            self.events.after(self.outage.notice, lambda: self._elsewhere(seconds, then))
        else:
            self._elsewhere(seconds, then)

    def _elsewhere(self, seconds: float, then: Callable[[], None]) -> None:
        others = self.replicas[1:]
        others[next(self.turn) % len(others)].run(seconds, then)

    @property
    def worked(self) -> float:
        return sum(replica.worked for replica in self.replicas)


def simulate(
    cluster: Cluster,
    rate: float,
    *,
    seconds: float,
    times: StepTimes | None = None,
    outage: Outage | None = None,
    seed: int = 0,
) -> Outcome:
    """Simulate searches that arrive at random, `rate` a second. The first fifth of the time is not measured.

    Raises ValueError if there is an outage, and a service with one replica.
    """
    smallest = min(cluster.gateways, cluster.embedders, cluster.qdrant_nodes)
    if outage is not None and smallest < 2:
        raise ValueError("a service with one replica cannot lose one")
    return _Simulation(cluster, times or StepTimes(), outage, seed).run(rate, seconds)


class _Simulation:
    def __init__(self, cluster: Cluster, times: StepTimes, outage: Outage | None, seed: int) -> None:
        self._events = _Events()
        self._random = random.Random(seed)
        self._cluster = cluster
        self._times = times
        # Log-normal: times are positive, and now and then much longer than usual.
        self._sigma = float(np.sqrt(np.log1p(times.variation**2)))
        self._gateways = self._service(cluster.gateways, 1, outage)
        self._routers = self._service(cluster.embedders, 1, outage)
        self._workers = self._service(cluster.embedders, cluster.embedder_cores, outage)
        self._qdrant = self._service(cluster.qdrant_nodes, cluster.qdrant_cores, outage)
        self._latencies: list[tuple[float, float]] = []

    def _service(self, replicas: int, cores: int, outage: Outage | None) -> _Service:
        return _Service([_Cores(self._events, cores) for _ in range(replicas)], outage, self._events)

    def run(self, rate: float, seconds: float) -> Outcome:
        self._arrive(rate, seconds)
        self._events.run()
        measured = [latency for began, latency in sorted(self._latencies) if began >= seconds / 5]
        cluster, lasted = self._cluster, max(self._events.now, seconds)
        busy = {
            "gateway": self._gateways.worked / lasted / cluster.gateways,
            "embedder": self._workers.worked / lasted / (cluster.embedders * cluster.embedder_cores),
            "qdrant": self._qdrant.worked / lasted / (cluster.qdrant_nodes * cluster.qdrant_cores),
        }
        return Outcome(np.array(measured), busy)

    def _arrive(self, rate: float, seconds: float) -> None:
        def arrive() -> None:
            if self._events.now >= seconds:
                return
            self._search()
            self._events.after(self._random.expovariate(rate), arrive)

        self._events.after(self._random.expovariate(rate), arrive)

    def _search(self) -> None:
        began, times, events = self._events.now, self._times, self._events

        def end() -> None:
            self._latencies.append((began, events.now - began))

        def answer() -> None:
            self._gateways.run(self._drawn(times.gateway / 3), end)

        def rows() -> None:
            events.after(times.hop + times.rows, answer)

        def query() -> None:
            left = [self._cluster.shards]

            def shard_done() -> None:
                left[0] -= 1
                if not left[0]:
                    rows()

            for _ in range(self._cluster.shards):
                self._qdrant.run(self._drawn(times.query), shard_done)

        def embed() -> None:
            self._workers.run(self._drawn(times.worker), lambda: events.after(times.hop, query))

        def route() -> None:
            self._routers.run(self._drawn(times.router), embed)

        self._gateways.run(self._drawn(2 * times.gateway / 3), lambda: events.after(times.hop, route))

    def _drawn(self, mean: float) -> float:
        return mean * self._random.lognormvariate(-(self._sigma**2) / 2, self._sigma)
