"""Every set of values and every example installs, upgrades, rolls back and uninstalls on a real API server.

Hooks do not run, because their Jobs would need nodes; the server validates them like all other objects.
"""

import shutil
from pathlib import Path

import pytest

from tests.deploy.chart import CHART, EXAMPLES, MATRIX, Document, PodSpec, loaded, pod_of, values_file
from tests.deploy.cluster.kubernetes import Namespace, kubectl, priority_class, runtime_class

UMBRELLA = "with-databases"
# The charts that it depends on, with versions that its constraints allow.
STUBS = {"qdrant": "1.19.0", "cluster": "0.8.1"}
RELEASE = "app.kubernetes.io/instance=similis"


@pytest.fixture(params=[*MATRIX, UMBRELLA])
def chart_and_values(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The arguments of helm for each installation."""
    if request.param == UMBRELLA:
        return [str(umbrella_chart(tmp_path))]
    # The example's ExternalSecrets need custom resources that are not part of this check.
    foreign = ["--set-json", "extraObjects=[]"] if request.param == "argocd" else []
    return [str(CHART), "-f", str(values_file(request.param)), *foreign]


def umbrella_chart(folder: Path) -> Path:
    """Copy the example with its dependencies: this chart, and stubs for the charts of other projects."""
    made = folder / UMBRELLA
    shutil.copytree(EXAMPLES / UMBRELLA, made)
    shutil.copytree(CHART, made / "charts" / CHART.name)
    for name, version in STUBS.items():
        (made / "charts" / name).mkdir()
        about = f"{{apiVersion: v2, name: {name}, version: {version}}}\n"
        (made / "charts" / name / "Chart.yaml").write_text(about, encoding="utf-8")
    return made


def pod(number: int, made: PodSpec) -> Document:
    """Return the pod that a controller would create, because Pod Security enforces nothing before."""
    metadata = {"name": f"admitted-{number}", "labels": made.labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made.spec}


def test_a_release_is_installed_upgraded_rolled_back_and_removed(
    namespace: Namespace, chart_and_values: list[str]
) -> None:
    namespace.helm("install", "similis", *chart_and_values, "--no-hooks")
    assert {name for name in namespace.objects(RELEASE) if name.startswith("Deployment/")}
    changed = "similis.logLevel" if UMBRELLA in chart_and_values[0] else "logLevel"
    namespace.helm("upgrade", "similis", *chart_and_values, "--no-hooks", "--set", f"{changed}=debug")
    namespace.helm("rollback", "similis", "1", "--no-hooks")
    namespace.helm("uninstall", "similis", "--no-hooks")
    assert {name for name in namespace.objects(RELEASE) if not name.startswith("PersistentVolumeClaim/")} == set()


def test_the_server_accepts_every_object_and_pod_without_a_warning(
    namespace: Namespace, chart_and_values: list[str]
) -> None:
    documents = loaded(namespace.helm("template", "similis", *chart_and_values, "--dry-run=server"))
    specs = [spec for document in documents if (spec := pod_of(document)) is not None]
    assert len(specs) >= 3
    pods = [pod(number, spec) for number, spec in enumerate(specs)]
    # Admission looks them up.
    classes = [priority_class(spec.spec["priorityClassName"]) for spec in specs if "priorityClassName" in spec.spec]
    classes += [runtime_class(spec.spec["runtimeClassName"]) for spec in specs if "runtimeClassName" in spec.spec]
    if classes:
        namespace.apply(classes, dry_run=False)
    try:
        assert "Warning" not in namespace.apply([*documents, *pods])
    finally:
        if classes:
            kubectl("delete", "--ignore-not-found", "-f", "-", documents=classes)


def test_pod_security_refuses_a_pod_with_more_rights(namespace: Namespace) -> None:
    container = {"name": "root", "image": "registry.example.org/root:1", "securityContext": {"runAsUser": 0}}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": {"containers": [container]}}
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        namespace.apply([document])
