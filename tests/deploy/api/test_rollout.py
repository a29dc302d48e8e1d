"""What replaces pods, how many there are, and how long they have to end."""

import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    Document,
    Rendered,
    loaded,
    rendered,
    run_helm,
    values_file,
    without_cluster,
)
from tests.deploy.environment import main_container, settings


def test_autoscalers_and_budgets_belong_to_deployments(release: Rendered) -> None:
    deployments = {document["metadata"]["name"]: document for document in release.of("Deployment")}
    scaled = [
        document["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for document in release.of(kind)
    ]
    assert len(scaled) == len(set(scaled)), "two autoscalers would fight over the number of replicas"
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) == (name not in scaled)
    assert set(scaled) <= deployments.keys()


@pytest.mark.parametrize("component", ["gateway", "embedder", "trainer"])
def test_a_changed_setting_replaces_pods_and_a_changed_scale_does_not(component: str) -> None:
    def template_of(*flags: str) -> Document:
        deployment = rendered("minimal", *flags).one("Deployment", f"similis-{component}")
        made: Document = deployment["spec"]["template"]
        return made

    assert template_of() == template_of("--set", f"{component}.replicas=7")
    assert template_of() != template_of("--set", f"{component}.shutdownGraceSeconds=33")
    assert template_of() != template_of("--set", "logLevel=debug")


def test_access_to_the_hub_is_withdrawn_without_replacing_pods() -> None:
    hub = rendered("full", "--set", "embedder.networkPolicy.hub=true")
    closed = rendered("full", "--set", "embedder.networkPolicy.hub=false")
    changed = [document for document in closed.documents if document not in hub.documents]
    assert [(document["kind"], document["metadata"]["name"]) for document in changed] == [
        ("NetworkPolicy", "similis-embedder")
    ]
    assert not [
        peer
        for rule in changed[0]["spec"]["egress"]
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]


def test_a_new_version_of_the_chart_alone_replaces_no_pods(tmp_path: Path) -> None:
    newer = tmp_path / CHART.name
    shutil.copytree(CHART, newer)
    about = newer / "Chart.yaml"
    text, replaced = re.subn(r"(?m)^version: .*$", "version: 99.0.0", about.read_text(encoding="utf-8"))
    assert replaced == 1
    about.write_text(text, encoding="utf-8")
    values = ["-f", str(values_file("minimal")), *without_cluster("minimal")]
    done = run_helm("template", RELEASE, str(newer), "-n", NAMESPACE, *values)
    assert done.returncode == 0, done.stderr
    deployments = [document for document in loaded(done.stdout) if document["kind"] == "Deployment"]
    assert len(deployments) == 3
    for deployment in deployments:
        assert deployment["metadata"]["labels"]["helm.sh/chart"] == "similis-99.0.0"
        before = rendered("minimal").one("Deployment", deployment["metadata"]["name"])
        assert deployment["spec"]["template"] == before["spec"]["template"]


def test_the_grace_period_covers_stop_drain_and_requests(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        environment = settings(release, deployment)
        stop = main_container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain, grace = (int(environment[f"SIMILIS_{name}_SECONDS"]) for name in ("DRAIN", "SHUTDOWN_GRACE"))
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > stop + drain + grace


@pytest.mark.parametrize("component", ["embedder", "trainer"])
def test_a_grpc_server_closes_its_connections_as_soon_as_it_drains(component: str) -> None:
    """Clients look for other replicas when a connection closes. While it drains, they would have nowhere to go."""
    deployment = rendered("minimal").one("Deployment", f"similis-{component}")
    assert settings(rendered("minimal"), deployment)["SIMILIS_DRAIN_SECONDS"] == "0"


def test_a_trainer_keeps_a_replica_while_prometheus_is_down() -> None:
    """Also with triggers of the operator's, unless they are of a kind that KEDA has no fallback for."""
    scaling = ("--set", "trainer.autoscaling.kind=keda", "--set", "trainer.autoscaling.minReplicas=0")
    for trigger, fallback in {"prometheus": 1, "cpu": None, "memory": None}.items():
        triggers = f'trainer.autoscaling.keda.triggers=[{{"type": "{trigger}", "metadata": {{"value": "70"}}}}]'
        scaled = rendered("minimal", *scaling, "--set-json", triggers).one("ScaledObject", "similis-trainer")["spec"]
        assert scaled.get("fallback", {}).get("replicas") == fallback, trigger
