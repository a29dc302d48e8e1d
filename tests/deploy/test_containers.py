"""The chart's commands and settings start the real services and stop them without a failed request.

The tests run everything from the migration Job to the pod of `helm test`, on a real Postgres and the one-machine
Qdrant, with mutual TLS between the services.
"""

import asyncio
import json
import re
import shlex
import subprocess
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

from catalog.collections import Collections
from catalog.postgres.database import Database
from catalog.postgres.migrate import migrate
from tests.deploy.chart import KUBECTL, NAMESPACE, Document, Rendered, loaded, rendered
from tests.deploy.environment import settings
from tests.deploy.node import Node, RunningPod
from tests.e2e.machine.handbook import block
from tests.integration.databases import new_database
from tests.integration.embedder_process import MODEL_CACHE
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.unit.embedder.decoding.photographs import encoded, photograph

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = encoded(photograph().resize((400, 300)), "JPEG")
KEY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
# Loopback only, and without delays that the tests do not check.
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
    """The three services of a release. All of them are ready."""

    release: Rendered
    node: Node
    embedder: RunningPod
    trainer: RunningPod
    gateway: RunningPod

    @property
    def gateway_deployment(self) -> Document:
        """The Deployment of the gateway."""
        return self.release.one("Deployment", "similis-gateway")

    @property
    def url(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self.gateway.port('http')}"

    def channel(self, pod: RunningPod) -> grpc.aio.Channel:
        """Return a channel to the gRPC port of a pod, with the certificate of the release."""
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
        # Do not convert the model again.
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
    """Return the content of the Secret that `tls.existingSecret` names."""
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


async def test_a_trainer_without_a_schema_stays_alive_and_becomes_ready_after_the_migration(
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


async def test_metrics_are_served_on_the_metrics_port_only(deployed: Deployed) -> None:
    async with aiohttp.ClientSession() as session:
        for pod in (deployed.embedder, deployed.trainer, deployed.gateway):
            async with session.get(f"http://127.0.0.1:{pod.port('metrics')}/metrics") as answer:
                assert answer.status == 200
                service = pod.container["name"]
                assert f'similis_build_info{{service="{service}"' in await answer.text()
        async with session.get(f"{deployed.url}/metrics") as answer:
            assert answer.status == 404, "metrics must not be on the public port"


async def test_calls_without_a_certificate_are_refused(deployed: Deployed) -> None:
    for pod in (deployed.embedder, deployed.trainer):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{pod.port('grpc')}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)


async def test_the_pod_of_helm_test_succeeds(deployed: Deployed) -> None:
    pod = deployed.release.one("Pod", "similis-test")["spec"]
    (container,) = pod["containers"]
    deployed.node.hosts[f"http://similis-gateway.{NAMESPACE}.svc:80"] = deployed.url
    output = await deployed.node.run(deployed.release, pod, container)
    assert output.splitlines() == ["GET /readyz 200", "POST /api/verify 200", "GET /api/collection/list 200"]


@pytest.mark.parametrize("component", ["gateway", "trainer"])
async def test_the_pods_of_helm_test_that_check_a_service_succeed(deployed: Deployed, component: str) -> None:
    pod = deployed.release.one("Pod", f"similis-test-{component}")["spec"]
    (container,) = pod["containers"]
    output = await deployed.node.run(deployed.release, pod, container)
    levels = {level for level, *_ in (line.split() for line in output.splitlines())}
    # The size of the disk is that of this machine.
    assert levels <= {"ok", "warning"}, output
    assert {"postgres", "schema", "qdrant", "embedder", "certificate"} <= {
        line.split()[1] for line in output.splitlines()
    }


async def test_the_cron_job_makes_a_backup_and_the_handbook_restores_it(
    deployed: Deployed, postgres_url: str, tmp_path: Path
) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"API-Key": KEY}
        async with session.post(
            f"{deployed.url}/api/collection/create", json={"name": "kept"}, headers=headers
        ) as answer:
            assert answer.status == 200
    address = settings(deployed.release, deployed.gateway_deployment)["SIMILIS_QDRANT_ADDRESS"]
    job = cron_job(rendered("minimal", *_flags(address), "--set", "backup.enabled=true"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    output = await deployed.node.run(deployed.release, job["spec"]["template"]["spec"], container)
    made = Path(output.splitlines()[-1])
    assert made.parent == deployed.node.folder / "backup"

    (tmp_path / "backup").symlink_to(made.parent)
    async with (
        new_database(postgres_url, migrated=False) as url,
        running_qdrant(tmp_path / "qdrant") as qdrant,
        Database.open(url) as database,
    ):
        release = rendered("minimal", *_flags(f"{qdrant.host}:{qdrant.grpc_port}"), "--set", "backup.enabled=true")
        restoring = patched_as_in_the_handbook(cron_job(release), made.name)
        assert restoring["spec"]["backoffLimit"] == 0
        pod = restoring["spec"]["template"]["spec"]
        await Node(tmp_path, {"similis-postgres": {"url": url}}).run(release, pod, pod["containers"][0])
        assert "kept" in [name for _, name in await Collections(database).names()]


def cron_job(release: Rendered) -> Document:
    """Return the Job that `kubectl create job --from` makes of the CronJob."""
    made: Document = release.one("CronJob", "similis-backup")["spec"]["jobTemplate"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "restore"}, "spec": made["spec"]}


def patched_as_in_the_handbook(job: Document, backup: str) -> Document:
    """Return the Job with the patch by which the handbook turns it into a restore."""
    (patch,) = re.findall(r"kubectl (patch --local .*?\]')", block("create job restore"), re.DOTALL)
    arguments = shlex.split(patch.replace("2026-11-29T02-00-00Z", backup))
    done = subprocess.run([KUBECTL, *arguments], input=json.dumps(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = loaded(done.stdout)
    return found


async def test_a_stopping_embedder_answers_accepted_and_late_calls(deployed: Deployed) -> None:
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
            # From clients that have not noticed yet that it stops.
            calls = [stub.Embed(embedder_pb2.EmbedRequest(image=IMAGE, backbone_checksum=checksum)) for _ in range(8)]
            assert all(answer.vector for answer in await asyncio.gather(*calls))
            while outcome := await stream.read():
                outcomes.append(outcome)
            assert await stream.code() == grpc.StatusCode.OK
            assert {outcome.WhichOneof("outcome") for outcome in outcomes} == {"embedding"}
        assert await ending == 0


async def test_a_stopping_gateway_answers_the_requests_in_progress(deployed: Deployed) -> None:
    deployment = deployed.release.one("Deployment", "similis-gateway")
    async with deployed.node.running(deployed.release, deployment) as pod, aiohttp.ClientSession() as session:
        await pod.ready()
        url = f"http://127.0.0.1:{pod.port('http')}"
        rest = asyncio.Event()
        creations = [Creation(rest) for _ in range(8)]
        answers = [asyncio.create_task(creation.answer(session, url)) for creation in creations]
        await asyncio.gather(*(creation.begun.wait() for creation in creations))
        for _ in range(3):
            # The server accepts connections in order, so earlier ones have been accepted when these have answers.
            assert await _status(session, f"{url}/api/collection/list") == 200
        ending = asyncio.create_task(pod.stop())
        await _closed(pod.port("http"))
        rest.set()
        assert await asyncio.gather(*answers) == [200] * 8
        assert await ending == 0


@pytest.mark.parametrize("component", ["gateway", "trainer"])
async def test_all_ports_are_open_to_both_address_families(deployed: Deployed, component: str) -> None:
    """A cluster with both families may probe a pod over either of them."""
    flags = _flags(settings(deployed.release, deployed.gateway_deployment)["SIMILIS_QDRANT_ADDRESS"])
    release = rendered("minimal", *flags, "--set", "listenAddress=::")
    async with deployed.node.running(release, release.one("Deployment", f"similis-{component}")) as pod:
        for port in pod.ports.values():
            for address in ("127.0.0.1", "::1"):
                _, writer = await asyncio.open_connection(address, port)
                writer.close()


async def test_a_trainer_stops_within_its_grace_period(deployed: Deployed) -> None:
    deployment = deployed.release.one("Deployment", "similis-trainer")
    async with deployed.node.running(deployed.release, deployment) as pod:
        await pod.ready()
        assert await pod.stop() == 0


def _request(number: int, checksum: str) -> embedder_pb2.EmbedStreamRequest:
    return embedder_pb2.EmbedStreamRequest(item_id=number, image=IMAGE, backbone_checksum=checksum)


class Creation:
    """A request whose body begins immediately and ends when `rest` is set."""

    def __init__(self, rest: asyncio.Event) -> None:
        self.begun = asyncio.Event()
        self._rest = rest

    async def answer(self, session: aiohttp.ClientSession, url: str) -> int:
        """Send the request and return the status of the response."""
        headers = {"API-Key": KEY, "Content-Type": "application/json"}
        async with session.post(f"{url}/api/collection/create", data=self._body(), headers=headers) as answer:
            return answer.status

    async def _body(self) -> AsyncIterator[bytes]:
        yield b'{"name": '
        self.begun.set()
        await self._rest.wait()
        yield b'"in progress"}'


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return answer.status


async def _closed(port: int) -> None:
    """Wait until nothing listens on a port. Raises TimeoutError."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.01)
