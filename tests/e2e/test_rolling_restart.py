"""Every service is replaced while searches go on. No search fails."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.grpc.channel import open_channel
from servicekit.settings import TlsFiles
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.certificates import Authority
from tests.e2e.service_process import Probe, ServiceProcess, gateway_ready, health_port_ready, is_ready
from tests.integration.embedder_process import MODEL_CACHE
from tests.integration.gateway.api import api_client
from tests.integration.gateway.indexing import Indexer, content, picture
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.name_server import NameServer, name_server
from tests.ports import free_port

SEARCHERS = 2
# Often enough to meet every moment of a restart, and no more, so that the services are not slow to start.
PAUSE_SECONDS = 0.02
DRAIN_SECONDS = 1.0
# Long enough for the searches below to notice: they probe the gateways ten times a second, less often when busy.
GATEWAY_DRAIN_SECONDS = 5.0


@dataclass
class Load:
    """Searches one after the other, spread over the gateways that are ready."""

    urls: list[str]
    collection: int
    ready: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Search while entered."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            tasks = [asyncio.create_task(self._probe(session, url)) for url in self.urls]
            tasks += [asyncio.create_task(self._search(session, number)) for number in range(SEARCHERS)]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, session: aiohttp.ClientSession, url: str) -> None:
        """Probe a gateway, as a cluster does before it sends it requests."""
        while True:
            (self.ready.add if await is_ready(session, url) else self.ready.discard)(url)
            await asyncio.sleep(0.1)

    async def _search(self, session: aiohttp.ClientSession, number: int) -> None:
        body = {"image": base64.b64encode(picture(number)).decode(), "num_results": 3}
        turn = number
        while True:
            turn += 1
            await asyncio.sleep(PAUSE_SECONDS)
            ready = sorted(self.ready)
            if not ready:
                continue
            url = ready[turn % len(ready)]
            try:
                async with session.post(f"{url}/api/collection/{self.collection}/search", json=body) as answer:
                    text = await answer.text()
                    if answer.status != 200 or len((await answer.json())["results"]) != 3:
                        self.failures.append(f"{url}: {answer.status} {text}")
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(f"{url}: {error!r}")
            self.answers[url] += 1

    async def more_answers(self, count: int = 20) -> None:
        """Wait until `count` more searches were answered."""
        wanted = self.answers.total() + count
        async with asyncio.timeout(30):
            while self.answers.total() < wanted:  # noqa: ASYNC110 - other processes answer
                await asyncio.sleep(0.02)


@dataclass
class Cluster:
    """Services with TLS between them. `stores` has the settings of the databases.

    Embedders and trainers are found by name. As in a cluster each replica has its own address, and a replacement has a
    new one.
    """

    folder: Path
    stores: Mapping[str, object]
    tls: TlsFiles
    names: NameServer
    ports: list[int] = field(default_factory=lambda: [free_port() for _ in range(6)])

    @property
    def embedders(self) -> str:
        return f"dns://127.0.0.1:{self.names.port}/embedder.images.svc:{self.ports[0]}"

    @property
    def trainers(self) -> str:
        return f"dns://127.0.0.1:{self.names.port}/trainer.images.svc:{self.ports[2]}"

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports[4:]]

    def embedder(self, number: int) -> ServiceProcess:
        settings = {"model_cache": MODEL_CACHE, "workers": 1, "threads": 1, **self._listening(0, number)}
        return self._service("embedder", number, settings, health_port_ready(self.ports[1], address(number)))

    def trainer(self, number: int) -> ServiceProcess:
        settings = {"embedder_address": self.embedders, **self.stores, **self._listening(2, number)}
        return self._service("trainer", number, settings, health_port_ready(self.ports[3], address(number)))

    def gateway(self, number: int) -> ServiceProcess:
        addresses = {"embedder_address": self.embedders, "trainer_address": self.trainers}
        drain = {"drain_seconds": GATEWAY_DRAIN_SECONDS}
        settings = {"port": self.ports[4 + number], "spool_directory": self.folder, **drain, **addresses, **self.stores}
        return self._service("gateway", number, settings, gateway_ready(self.urls[number]))

    def resolve_to(self, service: str, *numbers: int) -> None:
        """Make the service's name resolve to these replicas."""
        self.names.addresses[f"{service}.images.svc"] = [address(number) for number in numbers]

    def _listening(self, port: int, number: int) -> dict[str, object]:
        return {"listen": f"{address(number)}:{self.ports[port]}", "health_port": self.ports[port + 1]}

    def _service(self, name: str, number: int, settings: Mapping[str, object], ready: Probe) -> ServiceProcess:
        common = {
            "tls_cert_file": self.tls.certificate,
            "tls_key_file": self.tls.key,
            "tls_ca_file": self.tls.authorities,
            "tls_server_name": "similis",
            "drain_seconds": DRAIN_SECONDS,
            "shutdown_grace_seconds": 10,
        }
        return ServiceProcess(name, {**common, **settings}, ready, self.folder / f"{name}-{number}.log")


def address(number: int) -> str:
    """Return the loopback address of a replica."""
    return f"127.0.0.{number + 2}"


async def indexed_collection(cluster: Cluster, database: Database, client: Qdrant) -> int:
    """Create and index a collection of a few pictures, and return its id."""
    key = await ApiKeys(database).create("tests")
    async with (
        open_channel(cluster.embedders, tls=replace(cluster.tls, server_name="similis")) as channel,
        api_client(cluster.urls[0], key) as api,
    ):
        identifier = await api.create()
        (await api.upload(identifier, content(range(12)))).pushed()
        embedder = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
        backbone = await embedder.served_backbone()
        assert backbone is not None
        await Indexer(database, Generations(client), embedder, backbone).index(identifier)
    return identifier


# Takes half a minute on two idle cores.
@pytest.mark.timeout(300)
async def test_a_rolling_restart_of_every_service_fails_no_search(tmp_path: Path) -> None:
    tls = Authority().issue(tmp_path / "tls", "similis")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(running_postgres(tmp_path / "data"))
        qdrant = await stack.enter_async_context(running_qdrant(tmp_path / "qdrant"))
        database = await stack.enter_async_context(Database.open(url))
        client = await stack.enter_async_context(open_qdrant(QdrantAddress(qdrant.address)))
        stores = {"database_url": url, "qdrant_address": f"{qdrant.host}:{qdrant.grpc_port}"}
        cluster = Cluster(tmp_path, stores, tls, await stack.enter_async_context(name_server()))
        embedders = [cluster.embedder(number) for number in range(2)]
        trainers = [cluster.trainer(number) for number in range(2)]
        gateways = [cluster.gateway(number) for number in range(2)]
        for service in ("embedder", "trainer"):
            cluster.resolve_to(service, 0)
        first = [embedders[0], *gateways]
        await asyncio.gather(*(stack.enter_async_context(part.running()) for part in first))
        load = Load(cluster.urls, await indexed_collection(cluster, database, client))
        # It would take the job that makes the index.
        await stack.enter_async_context(trainers[0].running())
        async with load.running():
            await load.more_answers()
            for service, (old, new) in (("embedder", embedders), ("trainer", trainers)):
                await stack.enter_async_context(new.running())
                cluster.resolve_to(service, 1)
                # While it drains, it is the only one that the gateways know.
                await old.stop()
                await load.more_answers()
            for part in gateways:
                await part.stop()
                await load.more_answers()
                await part.start()
                await load.more_answers()
        assert load.failures == []
        assert set(load.answers) == set(cluster.urls)
        assert min(load.answers.values()) > load.answers.total() // 10
