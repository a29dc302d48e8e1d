"""What makes new pods, how many there are, and how long old ones have to end."""

import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.chart import CHART, NAMESPACE, RELEASE, Document, Rendered, loaded, rendered, run_helm, values_file
from tests.deploy.environment import main_container, settings


def test_autoscalers_and_budgets_belong_to_deployments(release: Rendered) -> None:
    deployments = {document["metadata"]["name"]: document for document in release.of("Deployment")}
    scaled = [
        document["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for document in release.of(kind)
    ]
    assert len(scaled) == len(set(scaled)), "two would fight over the number of replicas"
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) == (name not in scaled)
    assert set(scaled) <= deployments.keys()


@pytest.mark.parametrize("component", ["gateway", "embedder", "trainer"])
def test_a_changed_setting_makes_new_pods_and_no_setting_leaves_them(component: str) -> None:
    def template_of(*flags: str) -> Document:
        deployment = rendered("minimal", *flags).one("Deployment", f"similis-{component}")
        made: Document = deployment["spec"]["template"]
        return made

    assert template_of() == template_of("--set", f"{component}.replicas=7")
    assert template_of() != template_of("--set", f"{component}.shutdownGraceSeconds=33")
    assert template_of() != template_of("--set", "logLevel=debug")


def test_the_way_to_the_hub_is_closed_without_new_pods() -> None:
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


def test_a_new_version_of_the_chart_alone_makes_no_new_pods(tmp_path: Path) -> None:
    newer = tmp_path / CHART.name
    shutil.copytree(CHART, newer)
    about = newer / "Chart.yaml"
    text, replaced = re.subn(r"(?m)^version: .*$", "version: 99.0.0", about.read_text(encoding="utf-8"))
    assert replaced == 1
    about.write_text(text, encoding="utf-8")
    done = run_helm("template", RELEASE, str(newer), "-n", NAMESPACE, "-f", str(values_file("minimal")))
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
