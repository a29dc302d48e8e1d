"""The commands and settings that the chart gives start the real services, and end them without a failed request.

On real Postgres and Qdrant, with mutual TLS between the services, from the Job of the migrations to the pod of
`helm test`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from similis.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from catalog.postgres.migrate import migrate
from tests.deploy.chart import NAMESPACE, Rendered, rendered
from tests.deploy.node import Node, RunningPod
from tests.integration.databases import new_database
from tests.integration.embedder_process import MODEL_CACHE
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.unit.embedder.decoding.photographs import encoded, photograph

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
]

IMAGE = encoded(photograph().resize((400, 300)), "JPEG")
KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
# Loopback only, and no seconds spent on what the tests do not look at.
FLAGS = {
    "listenAddress": "127.0.0.1",
    "embedder.drainSeconds": "5",
    "trainer.drainSeconds": "0",
    "embedder.settings.workers": "1",
    "apiKey.existingSecret": "first",
    "tls.enabled": "true",
    "tls.existingSecret": "similis-tls",
    "tls.serverName": "similis.internal",
}


@dataclass(frozen=True)
class Deployed:
    """The three services of a release, each ready, and where they run."""

    release: Rendered
    node: Node
    embedder: RunningPod
    trainer: RunningPod
    gateway: RunningPod

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self.gateway.port('http')}"

    def channel(self, pod: RunningPod) -> grpc.aio.Channel:
        """A connection to the gRPC port of a pod, with the certificate of the release."""
        files = {name: text.encode() for name, text in self.node.secrets["similis-tls"].items()}
        credentials = grpc.ssl_channel_credentials(files["ca.crt"], files["tls.key"], files["tls.crt"])
        named = [("grpc.ssl_target_name_override", "similis.internal")]
        return grpc.aio.secure_channel(f"127.0.0.1:{pod.port('grpc')}", credentials, options=named)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_postgres(tmp_path_factory.mktemp("postgres") / "data") as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployed(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployed]:
    folder = tmp_path_factory.mktemp("node")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(new_database(postgres_url, migrated=False))
        qdrant = await stack.enter_async_context(running_qdrant(folder / "qdrant"))
        secrets = {"similis-postgres": {"url": database}, "first": {"api-key": KEY}, "similis-tls": _certificate()}
        node = Node(folder, secrets)
        # The conversion of the model is not what is tested here.
        MODEL_CACHE.mkdir(parents=True, exist_ok=True)
        (folder / "models").mkdir()
        (folder / "models" / "converted").symlink_to(MODEL_CACHE)
        release = rendered("minimal", *_flags(f"{qdrant.host}:{qdrant.grpc_port}"))
        job = release.one("Job", "similis-migrate")["spec"]["template"]["spec"]
        for container in [*job["initContainers"], *job["containers"]]:
            await node.run(release, job, container)
        pods = []
        for component in ("embedder", "trainer", "gateway"):
            deployment = release.one("Deployment", f"similis-{component}")
            pods.append(await stack.enter_async_context(node.running(release, deployment)))
            if component != "gateway":
                name = f"dns:///similis-{component}.{NAMESPACE}.svc:{_grpc_port(pods[-1])}"
                node.hosts[name] = f"dns:///127.0.0.1:{pods[-1].port('grpc')}"
        for pod in pods:
            await pod.ready()
        yield Deployed(release, node, *pods)


def _certificate() -> dict[str, str]:
    """A certificate as the Secret of `tls.existingSecret` holds it."""
    authority = trustme.CA()
    issued = authority.issue_cert("similis.internal")
    return {
        "tls.crt": "".join(blob.bytes().decode() for blob in issued.cert_chain_pems),
        "tls.key": issued.private_key_pem.bytes().decode(),
        "ca.crt": authority.cert_pem.bytes().decode(),
    }


def _flags(qdrant: str) -> list[str]:
    given = {**FLAGS, "qdrant.address": qdrant}
    return [part for name, value in given.items() for part in ("--set", f"{name}={value}")]


def _grpc_port(pod: RunningPod) -> int:
    (port,) = (port["containerPort"] for port in pod.container["ports"] if port["name"] == "grpc")
    return int(port)


async def test_all_probes_pass(deployed: Deployed) -> None:
    for pod in (deployed.embedder, deployed.trainer, deployed.gateway):
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            await pod.passes(name)


async def test_a_trainer_without_a_schema_waits_and_is_not_restarted(
    deployed: Deployed, postgres_url: str, tmp_path: Path
) -> None:
    async with new_database(postgres_url, migrated=False) as url:
        node = Node(tmp_path, {**deployed.node.secrets, "similis-postgres": {"url": url}}, deployed.node.hosts)
        deployment = deployed.release.one("Deployment", "similis-trainer")
        async with node.running(deployed.release, deployment) as pod:
            await pod.passes("livenessProbe")
            assert not await pod.probe("readinessProbe")
            await migrate(url)
            await pod.ready()


async def test_metrics_are_on_the_port_of_their_name(deployed: Deployed) -> None:
    async with aiohttp.ClientSession() as session:
        for pod in (deployed.embedder, deployed.trainer, deployed.gateway):
            async with session.get(f"http://127.0.0.1:{pod.port('metrics')}/metrics") as answer:
                assert answer.status == 200
                service = pod.container["name"]
                assert f'similis_build_info{{service="{service}"' in await answer.text()
        async with session.get(f"{deployed.url}/metrics") as answer:
            assert answer.status == 404, "the port that the world sees shows metrics"


async def test_nobody_calls_without_a_certificate(deployed: Deployed) -> None:
    for pod in (deployed.embedder, deployed.trainer):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{pod.port('grpc')}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)


async def test_the_pod_of_helm_test_is_content(deployed: Deployed) -> None:
    pod = deployed.release.one("Pod", "similis-test")["spec"]
    (container,) = pod["containers"]
    deployed.node.hosts[f"http://similis-gateway.{NAMESPACE}.svc:80"] = deployed.url
    said = await deployed.node.run(deployed.release, pod, container)
    assert said.splitlines() == ["GET /readyz 200", "POST /api/verify 200", "GET /api/collection/list 200"]


async def test_an_embedder_that_ends_answers_what_it_took_up_and_what_still_comes(deployed: Deployed) -> None:
    deployment = deployed.release.one("Deployment", "similis-embedder")
    async with deployed.node.running(deployed.release, deployment) as pod:
        await pod.ready()
        async with deployed.channel(pod) as channel:
            stub: Any = embedder_pb2_grpc.EmbedderServiceStub(channel)
            checksum = (await stub.Describe(embedder_pb2.DescribeRequest())).checksum
            stream = stub.EmbedStream()
            for number in range(4):
                await stream.write(_request(number, checksum))
            outcomes = [await stream.read()]
            ending = asyncio.create_task(pod.stop())
            await pod.unready()
            # Of those who have not heard yet that it ends.
            calls = [stub.Embed(embedder_pb2.EmbedRequest(image=IMAGE, backbone_checksum=checksum)) for _ in range(8)]
            assert all(answer.vector for answer in await asyncio.gather(*calls))
            while outcome := await stream.read():
                outcomes.append(outcome)
            assert await stream.code() == grpc.StatusCode.OK
            assert {outcome.WhichOneof("outcome") for outcome in outcomes} == {"embedding"}
        assert await ending == 0


async def test_a_gateway_that_ends_answers_what_it_was_asked(deployed: Deployed) -> None:
    deployment = deployed.release.one("Deployment", "similis-gateway")
    async with deployed.node.running(deployed.release, deployment) as pod, aiohttp.ClientSession() as session:
        await pod.ready()
        url = f"http://127.0.0.1:{pod.port('http')}"
        rest = asyncio.Event()
        creations = [Creation(rest) for _ in range(8)]
        answers = [asyncio.create_task(creation.answer(session, url)) for creation in creations]
        await asyncio.gather(*(creation.begun.wait() for creation in creations))
        for _ in range(3):
            # Whatever connected before these was accepted before their answers.
            assert await _status(session, f"{url}/api/collection/list") == 200
        ending = asyncio.create_task(pod.stop())
        await _closed(pod.port("http"))
        rest.set()
        assert await asyncio.gather(*answers) == [200] * 8
        assert await ending == 0


async def test_a_trainer_ends_in_its_time(deployed: Deployed) -> None:
    deployment = deployed.release.one("Deployment", "similis-trainer")
    async with deployed.node.running(deployed.release, deployment) as pod:
        await pod.ready()
        assert await pod.stop() == 0


def _request(number: int, checksum: str) -> embedder_pb2.EmbedStreamRequest:
    return embedder_pb2.EmbedStreamRequest(item_id=number, image=IMAGE, backbone_checksum=checksum)


class Creation:
    """A request whose body begins at once and ends when `rest` is set."""

    def __init__(self, rest: asyncio.Event) -> None:
        self.begun = asyncio.Event()
        self._rest = rest

    async def answer(self, session: aiohttp.ClientSession, url: str) -> int:
        """The status of the answer."""
        headers = {"API-Key": KEY, "Content-Type": "application/json"}
        async with session.post(f"{url}/api/collection/create", data=self._body(), headers=headers) as answer:
            return answer.status

    async def _body(self) -> AsyncIterator[bytes]:
        yield b'{"name": '
        self.begun.set()
        await self._rest.wait()
        yield b'"begun before the end"}'


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return answer.status


async def _closed(port: int) -> None:
    """Returns when nobody listens any more. Raises TimeoutError."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.01)
