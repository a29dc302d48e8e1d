"""The life of a release: the real helm against an API server in memory."""

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
from tests.deploy.api.server import POD_LOG, ApiServer, serving
from tests.deploy.chart import CHART, HELM, KUBECTL, NAMESPACE, values_file

# The operator's own Secrets, and the prefix of the Secrets in which helm records releases.
OPERATORS = ("similis-postgres",)
RECORDS = "sh.helm.release."


@dataclass
class Cluster:
    """A cluster with a namespace and the operator's Secret. Jobs and pods whose names are in `failing` fail."""

    objects: Objects
    kubeconfig: Path
    failing: set[str] = field(default_factory=set)

    async def helm(self, *arguments: str, chart: bool = False, values: str = "minimal") -> tuple[int, str]:
        """Run helm and return its status and output. chart: pass the chart and the named values."""
        given = [*arguments, *((str(CHART), "-f", str(values_file(values))) if chart else ())]
        return await self.run(HELM, *given, "-n", NAMESPACE)

    async def run(self, program: Path, *arguments: str) -> tuple[int, str]:
        """Run a client of the cluster and return its status and output."""
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
        """Install the release with minimal values. Raises AssertionError with helm's message."""
        status, output = await self.helm("install", "similis", *WAIT, *flags, chart=True)
        assert status == 0, output

    def changes(self, since: int = 0) -> list[tuple[str, str, str]]:
        """Return what happened to objects of the chart: type, kind and name."""
        return [
            (event.type, event.kind, event.object["metadata"]["name"])
            for event in self.objects.events[since:]
            if not event.object["metadata"]["name"].startswith(RECORDS)
        ]

    def left(self) -> set[str]:
        """Return kind and name of all objects except the operator's own."""
        kinds = {event.kind for event in self.objects.events}
        names = {f"{kind}/{name}" for kind in kinds for name in self.objects.names(kind)}
        return {
            name for name in names if name not in {f"Secret/{own}" for own in OPERATORS} | {f"Namespace/{NAMESPACE}"}
        }

    def deployment(self, component: str) -> Object:
        """Return the Deployment of a component."""
        return self.objects.get("Deployment", NAMESPACE, f"similis-{component}")


WAIT = ("--wait", "--timeout", "30s")
# A pod of the migration Job, which has already ended.
MIGRATING: Object = {
    "metadata": {"name": "attempt", "labels": {"job-name": "similis-migrate"}},
    "spec": {"serviceAccountName": "default", "containers": [{"name": "migrate"}]},
    "status": {"phase": "Failed"},
}


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


async def test_installation_migrates_before_it_creates_the_services(cluster: Cluster) -> None:
    await cluster.install()
    changes = cluster.changes()
    done = changes.index(("MODIFIED", "Job", "similis-migrate"))
    assert [change for change in changes[:done] if change[1] in ("Deployment", "Service", "ConfigMap")] == []
    gateway = cluster.deployment("gateway")
    assert gateway["status"]["availableReplicas"] == 2
    # YAML parsers disagree about octal numbers, so this checks what the server received.
    (secret,) = (item["secret"] for item in gateway["spec"]["template"]["spec"]["volumes"] if "secret" in item)
    assert secret["defaultMode"] == 0o440
    # The objects that only the migration needs are gone.
    assert not [name for name in cluster.left() if name.endswith("-migrate")]


async def test_installation_is_refused_while_the_database_secret_is_missing(cluster: Cluster) -> None:
    await cluster.objects.delete("Secret", NAMESPACE, "similis-postgres")
    status, output = await cluster.helm("install", "similis", "--wait", "--timeout", "2s", chart=True)
    assert status != 0
    assert '"similis-postgres"' in output
    assert cluster.left() == set()


async def test_a_release_with_all_features_is_installed_and_removed(cluster: Cluster) -> None:
    for name in ("postgres-ca", "qdrant-key", "qdrant-read-only", "similis-tls", "first-key"):
        await cluster.objects.create("Secret", NAMESPACE, _named("Secret", name))
    await cluster.objects.create("ConfigMap", NAMESPACE, _named("ConfigMap", "qdrant-ca"))
    before = cluster.left()
    status, output = await cluster.helm("install", "similis", *WAIT, chart=True, values="full")
    assert status == 0, output
    assert {"ServiceMonitor/similis", "ScaledObject/similis-trainer", "ConfigMap/similis-extra"} <= cluster.left()
    status, output = await cluster.helm("uninstall", "similis", *WAIT)
    assert status == 0, output
    # The claim for models is kept.
    assert cluster.left() == before | {"PersistentVolumeClaim/similis-models", "PersistentVolumeClaim/similis-backup"}


async def test_the_command_in_the_notes_prints_the_api_key(cluster: Cluster) -> None:
    await cluster.install()
    _, notes = await cluster.helm("get", "notes", "similis")
    (command,) = (line for line in notes.splitlines() if "get secret" in line)
    program, *arguments = shlex.split(command)
    assert program == "kubectl"
    status, output = await cluster.run(KUBECTL, *arguments)
    assert status == 0, output
    secret = cluster.objects.get("Secret", NAMESPACE, "similis-api-key")
    assert output == base64.b64decode(secret["data"]["api-key"]).decode()


async def test_an_upgrade_replaces_pods_and_keeps_the_api_key(cluster: Cluster) -> None:
    await cluster.install()
    key = cluster.objects.get("Secret", NAMESPACE, "similis-api-key")
    before = cluster.deployment("gateway")
    status, output = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status == 0, output
    assert cluster.objects.get("Secret", NAMESPACE, "similis-api-key") == key
    assert len(base64.b64decode(key["data"]["api-key"])) == 43
    after = cluster.deployment("gateway")
    assert after["spec"]["template"] != before["spec"]["template"]
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"] > 1
    assert cluster.objects.get("ConfigMap", NAMESPACE, "similis-gateway")["data"]["SIMILIS_LOG_LEVEL"] == "debug"


async def test_an_upgrade_without_a_change_replaces_no_pod(cluster: Cluster) -> None:
    await cluster.install()
    before = {name: cluster.deployment(name)["spec"] for name in ("gateway", "embedder", "trainer")}
    status, output = await cluster.helm("upgrade", "similis", *WAIT, chart=True)
    assert status == 0, output
    assert {name: cluster.deployment(name)["spec"] for name in before} == before


async def test_a_failed_migration_does_not_change_the_running_release(cluster: Cluster) -> None:
    await cluster.install()
    before, since = cluster.left() - {"Secret/similis-api-key"}, cluster.objects.version
    await cluster.objects.create("Pod", NAMESPACE, _named("Pod", "attempt") | MIGRATING)
    cluster.failing.add("similis-migrate")
    status, output = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status != 0
    assert "pre-upgrade" in output
    assert POD_LOG in output, "helm must show the reason"
    assert not [change for change in cluster.changes(since) if change[1] in ("Deployment", "ConfigMap", "Service")]
    # The Job stays for inspection, and the next upgrade replaces it.
    assert "Job/similis-migrate" in cluster.left()
    assert before <= cluster.left()
    cluster.failing.clear()
    status, output = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status == 0, output
    assert "Job/similis-migrate" not in cluster.left()


async def test_a_rollback_restores_the_pods_without_a_migration(cluster: Cluster) -> None:
    await cluster.install()
    before = cluster.deployment("trainer")["spec"]
    status, output = await cluster.helm("upgrade", "similis", *WAIT, "--set", "logLevel=debug", chart=True)
    assert status == 0, output
    since = cluster.objects.version
    status, output = await cluster.helm("rollback", "similis", "1", *WAIT)
    assert status == 0, output
    assert cluster.deployment("trainer")["spec"] == before
    assert not [change for change in cluster.changes(since) if change[1] in ("Job", "Secret")]


async def test_releases_in_one_namespace_are_independent(cluster: Cluster) -> None:
    for name in ("one", "two"):
        status, output = await cluster.helm("install", name, *WAIT, chart=True)
        assert status == 0, output
    status, output = await cluster.helm("uninstall", "one", *WAIT)
    assert status == 0, output
    assert "Deployment/two-similis-gateway" in cluster.left()


async def test_helm_test_reports_the_result_of_its_pod(cluster: Cluster) -> None:
    await cluster.install()
    status, output = await cluster.helm("test", "similis", "--timeout", "30s")
    assert status == 0, output
    assert "Phase:          Succeeded" in output
    assert not [name for name in cluster.left() if name.endswith("-test")]
    cluster.failing.add("similis-test")
    status, output = await cluster.helm("test", "similis", "--timeout", "30s")
    assert status != 0


async def test_an_uninstallation_leaves_only_the_api_key(cluster: Cluster) -> None:
    await cluster.install()
    status, output = await cluster.helm("uninstall", "similis", *WAIT)
    assert status == 0, output
    assert cluster.left() == {"Secret/similis-api-key"}


async def test_a_release_that_is_installed_again_keeps_its_api_key(cluster: Cluster) -> None:
    await cluster.install()
    key = cluster.objects.get("Secret", NAMESPACE, "similis-api-key")["data"]
    await cluster.helm("uninstall", "similis", *WAIT)
    await cluster.install()
    assert cluster.objects.get("Secret", NAMESPACE, "similis-api-key")["data"] == key


def _named(kind: str, name: str) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
