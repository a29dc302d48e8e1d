"""A real API server, prepared like an operator's: custom resources, and a namespace that enforces Pod Security."""

import os
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.deploy.cluster.kubernetes import Namespace, kubectl, secret

# "restricted" is the strictest of the Pod Security Standards.
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
CUSTOM_RESOURCES = (
    *("servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com"),
    *("scaledobjects.keda.sh", "httproutes.gateway.networking.k8s.io"),
)

ESTABLISHED_SECONDS = 30


@pytest.fixture(scope="session", autouse=True)
def custom_resources() -> None:
    """The custom resources that the chart can create. KUBE_CRDS names a folder with their definitions."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG does not name a cluster: run 'make kube-check KUBECONFIG=FILE'")
    folder = os.environ.get("KUBE_CRDS")
    if folder:
        applied = kubectl("apply", "--server-side", "-f", folder)
        assert applied.returncode == 0, applied.stderr
    names = [f"crd/{name}" for name in CUSTOM_RESOURCES]
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    # `kubectl wait` fails at once for a definition so new that its status has no conditions yet.
    while (waited := wait_until_established(names)).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    assert waited.returncode == 0, f"{waited.stderr}KUBE_CRDS can name a folder with the missing definitions."


def wait_until_established(names: list[str]) -> "subprocess.CompletedProcess[str]":
    return kubectl("wait", "--for=condition=Established", f"--timeout={ESTABLISHED_SECONDS}s", *names)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A separate namespace, with the Secret of the database."""
    yield from new_namespace()


@pytest.fixture
def other_namespace() -> Iterator[Namespace]:
    """A second namespace like `namespace`."""
    yield from new_namespace()


def new_namespace() -> Iterator[Namespace]:
    made = Namespace(f"similis-check-{uuid.uuid4().hex[:8]}")
    metadata = {"name": made.name, "labels": RESTRICTED}
    created = kubectl("create", "-f", "-", documents=[{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    assert created.returncode == 0, created.stderr
    try:
        made.apply([secret("similis-postgres")], dry_run=False)
        yield made
    finally:
        # Without a namespace controller the deletion never ends, so do not wait for it.
        kubectl("delete", "namespace", made.name, "--wait=false")
