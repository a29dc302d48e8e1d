"""What upgrades keep, and what the chart refuses before Kubernetes would."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.deploy.chart import CHART, HELM, values_file
from tests.deploy.cluster.kubernetes import Namespace, kubectl

MINIMAL = (str(CHART), "-f", str(values_file("minimal")))
CLAIM = ("--set", "embedder.modelCache.kind=persistentVolumeClaim")
MIGRATE = "app.kubernetes.io/component=migrate"
SUPPORT = {"ServiceAccount/similis-migrate", "NetworkPolicy/similis-migrate"}
NOW = "2026-01-01T00:00:00Z"


def replicas(namespace: Namespace, component: str) -> int:
    return int(namespace.get("deployment", f"similis-{component}")["spec"]["replicas"])


def claim_is_kept(namespace: Namespace) -> bool:
    """Return whether the claim is there and not about to be deleted."""
    return "deletionTimestamp" not in namespace.get("pvc", "similis-models")["metadata"]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("hpa", []),
        ("keda", ["--set-json", 'gateway.autoscaling.keda.triggers=[{"type": "cpu", "metadata": {"value": "70"}}]']),
    ],
)
def test_turning_autoscaling_on_keeps_the_number_of_pods(namespace: Namespace, kind: str, flags: list[str]) -> None:
    scaled = [*flags, "--set", f"gateway.autoscaling.kind={kind}"]
    namespace.helm("install", "similis", *MINIMAL, "--no-hooks", "--set", "gateway.replicas=3")
    for level in ("info", "debug"):
        namespace.helm("upgrade", "similis", *MINIMAL, "--no-hooks", *scaled, "--set", f"logLevel={level}")
        assert replicas(namespace, "gateway") == 3


def test_upgrades_and_rollbacks_leave_the_number_of_pods_to_the_autoscaler(namespace: Namespace) -> None:
    scaled = ["--set", "gateway.autoscaling.kind=hpa"]
    namespace.helm("install", "similis", *MINIMAL, "--no-hooks", *scaled)
    for number, level in ((5, "debug"), (6, "info")):
        # The autoscaler uses the same subresource.
        done = kubectl("-n", namespace.name, "scale", "deployment/similis-gateway", f"--replicas={number}")
        assert done.returncode == 0, done.stderr
        namespace.helm("upgrade", "similis", *MINIMAL, "--no-hooks", *scaled, "--set", f"logLevel={level}")
        assert replicas(namespace, "gateway") == number
    namespace.helm("rollback", "similis", "2", "--no-hooks")
    assert replicas(namespace, "gateway") == 6
    # Back to a fixed number, which the autoscaler owns until then.
    namespace.helm("upgrade", "similis", *MINIMAL, "--no-hooks", "--force-conflicts", "--set", "gateway.replicas=2")
    assert replicas(namespace, "gateway") == 2


def test_releases_of_one_name_share_a_namespace_for_monitoring(
    namespace: Namespace, other_namespace: Namespace
) -> None:
    flags: list[str] = []
    for name in ("serviceMonitor", "prometheusRule", "dashboard"):
        flags += ["--set", f"metrics.{name}.enabled=true", "--set", f"metrics.{name}.namespace=default"]
    try:
        for place in (namespace, other_namespace):
            place.helm("install", "similis", *MINIMAL, "--no-hooks", *flags)
        found = kubectl("-n", "default", "get", "servicemonitor,prometheusrule,configmap", "-o", "name")
        for place in (namespace, other_namespace):
            assert found.stdout.count(f"/{place.name}-similis") == 3, found.stdout
    finally:
        for place in (namespace, other_namespace):
            place.try_helm("uninstall", "similis", "--no-hooks")


def test_two_long_release_names_do_not_collide(namespace: Namespace) -> None:
    for end in "ab":
        namespace.helm("install", f"a-release-with-a-name-of-fifty-one-characters-or-s{end}", *MINIMAL, "--no-hooks")


def test_the_claim_for_models_is_kept(namespace: Namespace) -> None:
    namespace.helm("install", "similis", *MINIMAL, "--no-hooks", *CLAIM)
    namespace.helm("upgrade", "similis", *MINIMAL, "--no-hooks")
    assert claim_is_kept(namespace)
    namespace.helm("upgrade", "similis", *MINIMAL, "--no-hooks", *CLAIM)
    namespace.helm("uninstall", "similis", "--no-hooks")
    assert claim_is_kept(namespace)
    namespace.helm("install", "similis", *MINIMAL, "--no-hooks", *CLAIM)


@pytest.mark.parametrize(
    ("flags", "setting"),
    [
        (("--set-json", 'embedder.modelCache.accessModes=["ReadWriteOnce"]'), "accessModes"),
        (("--set", "embedder.modelCache.storageClassName=fast"), "storageClassName"),
        (("--set", "embedder.modelCache.size=9Gi"), "size"),
    ],
)
def test_an_impossible_change_to_a_volume_claim_is_refused_before_the_upgrade(
    namespace: Namespace, flags: tuple[str, str], setting: str
) -> None:
    namespace.helm("install", "similis", *MINIMAL, "--no-hooks", *CLAIM)
    done = namespace.try_helm("upgrade", "similis", *MINIMAL, "--no-hooks", *CLAIM, *flags)
    assert done.returncode != 0
    assert f"embedder.modelCache.{setting}" in done.stderr
    assert "existingClaim" in done.stderr
    (release,) = json.loads(namespace.helm("list", "-o", "json"))
    assert (release["status"], release["revision"]) == ("deployed", "1")


@pytest.fixture
def unscheduled() -> None:
    """A server without nodes, where the tests play the part of the Job controller."""
    nodes = kubectl("get", "nodes", "-o", "name")
    assert nodes.returncode == 0, nodes.stderr
    if nodes.stdout:
        pytest.skip("the cluster has nodes: its own controller decides how Jobs end")


@contextmanager
def migrating(namespace: Namespace, command: str, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    """Run helm until its migration Job exists."""
    arguments = [str(HELM), command, "similis", *MINIMAL, "-n", namespace.name, *flags]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as helm:
        try:
            waited = kubectl("-n", namespace.name, "wait", "--for=create", "job/similis-migrate", "--timeout=30s")
            assert waited.returncode == 0, waited.stderr
            yield helm
        finally:
            helm.kill()


def finish(namespace: Namespace, *, succeeded: bool) -> None:
    """Set the status of a finished Job, as its controller does."""
    types = ("SuccessCriteriaMet", "Complete") if succeeded else ("FailureTarget", "Failed")
    conditions = [
        {"type": kind, "status": "True", "reason": "Test", "lastProbeTime": NOW, "lastTransitionTime": NOW}
        for kind in types
    ]
    counts = {"succeeded": 1, "completionTime": NOW} if succeeded else {"failed": 1}
    namespace.patch_status("job", "similis-migrate", {"startTime": NOW, "conditions": conditions, **counts})


@pytest.mark.usefixtures("unscheduled")
def test_a_successful_migration_leaves_only_the_api_key(namespace: Namespace) -> None:
    with migrating(namespace, "install") as helm:
        assert namespace.objects(MIGRATE) >= SUPPORT
        finish(namespace, succeeded=True)
        output, _ = helm.communicate(timeout=60)
        assert helm.returncode == 0, output
    assert namespace.objects(MIGRATE) == {"Secret/similis-api-key"}


@pytest.mark.usefixtures("unscheduled")
def test_a_failed_migration_keeps_what_its_job_needs_until_the_release_is_removed(namespace: Namespace) -> None:
    with migrating(namespace, "install") as helm:
        finish(namespace, succeeded=False)
        output, _ = helm.communicate(timeout=60)
        assert helm.returncode != 0, output
    assert namespace.objects(MIGRATE) >= {"Job/similis-migrate", *SUPPORT}
    namespace.helm("uninstall", "similis")
    assert namespace.objects(MIGRATE) == {"Job/similis-migrate", "Secret/similis-api-key"}
    # Kubernetes removes the Job and its pods later.
    assert namespace.get("job", "similis-migrate")["spec"]["ttlSecondsAfterFinished"] > 0


@pytest.mark.usefixtures("unscheduled")
def test_the_objects_of_a_migration_job_outlive_the_timeout_of_helm(namespace: Namespace) -> None:
    with migrating(namespace, "install", "--timeout", "2s") as helm:
        output, _ = helm.communicate(timeout=60)
        assert helm.returncode != 0, output
    assert namespace.objects(MIGRATE) >= {"Job/similis-migrate", *SUPPORT}
