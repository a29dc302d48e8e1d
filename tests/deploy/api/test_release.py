"""The life of a release, by the real helm against an API server in memory."""

import asyncio
import base64
import contextlib
import os
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest_asyncio

from tests.deploy.api.controllers import Controllers
from tests.deploy.api.objects import Object, Objects
from tests.deploy.api.server import ApiServer, serving
from tests.deploy.chart import CHART, HELM, KUBECTL, NAMESPACE, values_file

# What the operator made, and what helm remembers a release by.
OPERATORS = ("similis-postgres",)
RECORDS = "sh.helm.release."


@dataclass
class Cluster:
    """A cluster with nothing but a namespace and the operator's Secret; jobs and pods named in `failing` fail."""

    objects: Objects
    kubeconfig: Path
    failing: set[str] = field(default_factory=set)

    async def helm(self, *arguments: str, chart: bool = False, values: str = "minimal") -> tuple[int, str]:
        """Runs helm; gives its status and what it said. chart: with the chart and the values of that name."""
        given = [*arguments, *((str(CHART), "-f", str(values_file(values))) if chart else ())]
        return await self.run(HELM, *given, "-n", NAMESPACE)

    async def run(self, program: Path, *arguments: str) -> tuple[int, str]:
        """Runs a client of the cluster; gives its status and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(str(program), *arguments),
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(60):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode()

    async def install(self, *flags: str) -> None:
        """Installs the release with minimal values. Raises AssertionError with helm's words."""
        status, said = await self.helm("install", "similis", *WAIT, *flags, chart=True)
        assert status == 0, said

    def changes(self, since: int = 0) -> list[tuple[str, str, str]]:
        """What happened to objects of the chart: type, kind, name."""
        return [
            (event.type, event.kind, event.object["metadata"]["name"])
            for event in self.objects.events[since:]
            if not event.object["metadata"]["name"].startswith(RECORDS)
        ]

    def left(self) -> set[str]:
        """Kind and name of all that is there beside the operator's own."""
        kinds = {event.kind for event in self.objects.events}
        names = {f"{kind}/{name}" for kind in kinds for name in self.objects.names(kind)}
        return {
            name for name in names if name not in {f"Secret/{own}" for own in OPERATORS} | {f"Namespace/{NAMESPACE}"}
        }

    def deployment(self, component: str) -> Object:
        """The Deployment of a component."""
        return self.objects.get("Deployment", NAMESPACE, f"similis-{component}")


WAIT = ("--wait", "--timeout", "30s")


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    objects = Objects()
    await objects.create("Namespace", "", _named("Namespace", NAMESPACE))
    for name in OPERATORS:
        await objects.create("Secret", NAMESPACE, _named("Secret", name))
    async with serving(ApiServer(objects)) as url:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(
            "{apiVersion: v1, kind: Config, current-context: c, users: [], "
            f"clusters: [{{name: c, cluster: {{server: '{url}'}}}}], "
            "contexts: [{name: c, context: {cluster: c}}]}",
            encoding="utf-8",
        )
        cluster = Cluster(objects, kubeconfig)
        controllers = asyncio.create_task(Controllers(objects, lambda name: name not in cluster.failing).run())
        yield cluster
        controllers.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await controllers


async def test_install_migrates_before_anything_else_is_made(cluster: Cluster) -> None:
    await cluster.install()
    changes = cluster.changes()
    done = changes.index(("MODIFIED", "Job", "similis-migrate"))
    assert [change for change in changes[:done] if change[1] in ("Deployment", "Service", "ConfigMap")] == []
    gateway = cluster.deployment("gateway")
    assert gateway["status"]["availableReplicas"] == 2
    # As it arrives, and not as text: octal in YAML is read differently by different readers.
    (secret,) = (item["secret"] for item in gateway["spec"]["template"]["spec"]["volumes"] if "secret" in item)
    assert secret["defaultMode"] == 0o440
    # What only the migrations needed is gone.
    assert not [name for name in cluster.left() if name.endswith("-migrate")]


async def test_install_fails_where_the_database_secret_is_missing(cluster: Cluster) -> None:
    await cluster.objects.delete("Secret", NAMESPACE, "similis-postgres")
    status, said = await cluster.helm("install", "similis", "--wait", "--timeout", "2s", chart=True)
    assert status != 0
    assert "pre-install" in said
    assert cluster.objects.names("Deployment") == set()


async def test_everything_at_once_comes_up_and_goes(cluster: Cluster) -> None:
    for name in ("postgres-ca", "qdrant-key", "similis-tls", "first-key"):
        await cluster.objects.create("Secret", NAMESPACE, _named("Secret", name))
    await cluster.objects.create("ConfigMap", NAMESPACE, _named("ConfigMap", "qdrant-ca"))
    before = cluster.left()
    status, said = await cluster.helm("install", "similis", *WAIT, chart=True, values="full")
    assert status == 0, said
    assert {"ServiceMonitor/similis", "ScaledObject/similis-trainer", "ConfigMap/similis-extra"} <= cluster.left()
    status, said = await cluster.helm("uninstall", "similis", *WAIT)
    assert status == 0, said
    assert cluster.left() == before


async def test_the_command_in_the_notes_prints_the_api_key(cluster: Cluster) -> None:
    await cluster.install()
    _, notes = await cluster.helm("get", "notes", "similis")
    (command,) = (line for line in notes.splitlines() if "get secret" in line)
    program, *arguments = shlex.split(command)
    assert program == "kubectl"
    status, said = await cluster.run(KUBECTL, *arguments)
    assert status == 0, said
    secret = cluster.objects.get("Secret", NAMESPACE, "similis-api-key")
    assert said == base64.b64decode(secret["data"]["api-key"]).decode()


async def test_upgrade_makes_new_pods_and_keeps_the_api_key(cluster: Cluster) -> None:
    await cluster.install()
    key = cluster.objects.get("Secret", NAMESPACE, "similis-api-key")
    before = cluster.deployment("gateway")
    status, said = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status == 0, said
    assert cluster.objects.get("Secret", NAMESPACE, "similis-api-key") == key
    assert len(base64.b64decode(key["data"]["api-key"])) == 43
    after = cluster.deployment("gateway")
    assert after["spec"]["template"] != before["spec"]["template"]
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"] > 1
    assert cluster.objects.get("ConfigMap", NAMESPACE, "similis-gateway")["data"]["SIMILIS_LOG_LEVEL"] == "debug"


async def test_upgrade_without_a_change_touches_no_pod(cluster: Cluster) -> None:
    await cluster.install()
    before = {name: cluster.deployment(name)["spec"] for name in ("gateway", "embedder", "trainer")}
    status, said = await cluster.helm("upgrade", "similis", *WAIT, chart=True)
    assert status == 0, said
    assert {name: cluster.deployment(name)["spec"] for name in before} == before


async def test_a_failed_migration_leaves_the_running_release_alone(cluster: Cluster) -> None:
    await cluster.install()
    before, since = cluster.left() - {"Secret/similis-api-key"}, cluster.objects.version
    cluster.failing.add("similis-migrate")
    status, said = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status != 0
    assert "pre-upgrade" in said
    assert not [change for change in cluster.changes(since) if change[1] in ("Deployment", "ConfigMap", "Service")]
    # Its Job stays, to be looked at; the next upgrade begins anew.
    assert "Job/similis-migrate" in cluster.left()
    assert before <= cluster.left()
    cluster.failing.clear()
    status, said = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status == 0, said
    assert "Job/similis-migrate" not in cluster.left()


async def test_rollback_runs_no_migration_and_brings_the_old_pods_back(cluster: Cluster) -> None:
    await cluster.install()
    before = cluster.deployment("trainer")["spec"]
    status, said = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status == 0, said
    since = cluster.objects.version
    status, said = await cluster.helm("rollback", "similis", "1", *WAIT)
    assert status == 0, said
    assert cluster.deployment("trainer")["spec"] == before
    assert not [change for change in cluster.changes(since) if change[1] in ("Job", "Secret")]


async def test_helm_test_succeeds_and_fails_with_its_pod(cluster: Cluster) -> None:
    await cluster.install()
    status, said = await cluster.helm("test", "similis", "--timeout", "30s")
    assert status == 0, said
    assert "Phase:          Succeeded" in said
    assert not [name for name in cluster.left() if name.endswith("-test")]
    cluster.failing.add("similis-test")
    status, said = await cluster.helm("test", "similis", "--timeout", "30s")
    assert status != 0


async def test_uninstall_leaves_nothing_but_the_api_key(cluster: Cluster) -> None:
    await cluster.install()
    status, said = await cluster.helm("uninstall", "similis", *WAIT)
    assert status == 0, said
    assert cluster.left() == {"Secret/similis-api-key"}


async def test_a_release_after_an_uninstall_has_the_same_key(cluster: Cluster) -> None:
    await cluster.install()
    key = cluster.objects.get("Secret", NAMESPACE, "similis-api-key")["data"]
    await cluster.helm("uninstall", "similis", *WAIT)
    await cluster.install()
    assert cluster.objects.get("Secret", NAMESPACE, "similis-api-key")["data"] == key


def _named(kind: str, name: str) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
