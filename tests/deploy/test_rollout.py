"""What makes new pods, how many there are, and how long old ones have to end."""

import pytest

from tests.deploy.chart import Document, Rendered, rendered
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


def test_a_new_version_of_the_chart_alone_makes_no_new_pods(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        assert "helm.sh/chart" not in deployment["spec"]["template"]["metadata"]["labels"]


def test_the_grace_period_covers_stop_drain_and_requests(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        environment = settings(release, deployment)
        stop = main_container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain, grace = (int(environment[f"SIMILIS_{name}_SECONDS"]) for name in ("DRAIN", "SHUTDOWN_GRACE"))
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > stop + drain + grace
