"""Objects refer to each other correctly: selectors, ports, addresses, routes."""

import re
import shlex
from collections.abc import Iterator

from tests.deploy.chart import CHART, NAMESPACE, Document, PodSpec, Rendered, loaded, pods, rendered, template
from tests.deploy.environment import main_container, settings


def test_selectors_match_the_pods_of_exactly_one_component(release: Rendered) -> None:
    for document in release.documents:
        for selector in _selectors(document):
            matched = (pod.labels for pod in pods(release) if selector.items() <= pod.labels.items())
            found = {labels["app.kubernetes.io/component"] for labels in matched}
            assert len(found) == 1, (document["kind"], document["metadata"]["name"], found)


def test_deployments_select_their_own_pods(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        wanted = deployment["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert not {"app.kubernetes.io/version", "helm.sh/chart"} & wanted.keys(), (
            "these labels change, and selectors cannot"
        )


def test_services_refer_to_container_ports(release: Rendered) -> None:
    for service in release.of("Service"):
        (pod,) = (pod for pod in pods(release) if service["spec"]["selector"].items() <= pod.labels.items())
        named = {port["name"]: port["containerPort"] for port in _ports(pod)}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in named, (service["metadata"]["name"], port)
            if service["spec"].get("clusterIP") == "None":
                # Clients of a headless Service connect to the container itself.
                assert port["port"] == named[port["targetPort"]]


def test_probes_refer_to_container_ports(release: Rendered) -> None:
    for pod in pods(release):
        for container in pod.containers:
            ports = container.get("ports", [])
            known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {})
                action = asked.get("httpGet") or asked.get("grpc")
                assert action is None or action["port"] in known, (pod.owner, probe)


def test_every_deployment_has_all_three_probes(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        container = main_container(deployment)
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_the_second_release_that_turns_tls_on_shares_no_object_with_the_first() -> None:
    handbook = (CHART / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"helm install similis-tls (.*?)```", handbook, re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    options = [argument for word in words if "=" in word for argument in ("--set", word)]
    done = template("external", *options, release="similis-tls")
    assert done.returncode == 0, done.stderr
    second = Rendered("external", tuple(loaded(done.stdout)))
    assert not {_identity(document) for document in rendered("external").documents} & {
        _identity(document) for document in second.documents
    }
    assert not {"Job", "Ingress"} & {document["kind"] for document in second.documents}
    for service in ("gateway", "embedder", "trainer"):
        assert settings(second, second.one("Deployment", f"similis-tls-{service}"))["SIMILIS_TLS_CERT_FILE"]


def _identity(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_services_listen_on_their_container_ports(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        environment = settings(release, deployment)
        ports = {port["name"]: str(port["containerPort"]) for port in main_container(deployment)["ports"]}
        assert environment["SIMILIS_METRICS_PORT"] == ports["metrics"]
        if "http" in ports:
            assert environment["SIMILIS_PORT"] == ports["http"]
        else:
            assert environment["SIMILIS_LISTEN"].rpartition(":")[2] == ports["grpc"]
            assert environment["SIMILIS_HEALTH_PORT"] == ports["health"]


def test_services_call_each_other_on_the_ports_of_their_services(release: Rendered) -> None:
    named = {f"{service['metadata']['name']}.{NAMESPACE}.svc": service for service in release.of("Service")}
    asked = 0
    for deployment in release.of("Deployment"):
        for name, value in settings(release, deployment).items():
            if name not in ("SIMILIS_EMBEDDER_ADDRESS", "SIMILIS_TRAINER_ADDRESS"):
                continue
            host, _, port = value.removeprefix("dns:///").rpartition(":")
            assert int(port) in [item["port"] for item in named[host]["spec"]["ports"] if item["name"] == "grpc"]
            assert named[host]["spec"]["clusterIP"] == "None", "clients could not balance over the replicas"
            asked += 1
    assert asked == 3


def test_routes_forward_to_the_gateway(release: Rendered) -> None:
    service = next(item for item in release.of("Service") if "http" in [p["name"] for p in item["spec"]["ports"]])
    (port,) = service["spec"]["ports"]
    for ingress in release.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                assert (backend["name"], backend["port"]["name"]) == (service["metadata"]["name"], port["name"])
    for route in release.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert (backend["name"], backend["port"]) == (service["metadata"]["name"], port["port"])


def test_the_service_monitor_scrapes_one_metrics_port_of_each_component() -> None:
    release = rendered("full")
    (monitor,) = release.of("ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    found = [
        service["metadata"]["labels"]["app.kubernetes.io/component"]
        for service in release.of("Service")
        if wanted.items() <= service["metadata"]["labels"].items()
        for port in service["spec"]["ports"]
        if port["name"] == endpoint["port"]
    ]
    assert sorted(found) == ["embedder", "gateway", "trainer"]


def _ports(pod: PodSpec) -> list[Document]:
    return [port for container in pod.spec["containers"] for port in container.get("ports", [])]


def _selectors(document: Document) -> Iterator[dict[str, str]]:
    specification = document.get("spec", {})
    match document["kind"]:
        case "Service":
            yield specification["selector"]
        case "Deployment" | "PodDisruptionBudget":
            yield specification["selector"]["matchLabels"]
        case "NetworkPolicy":
            yield specification["podSelector"]["matchLabels"]
    if document["kind"] == "Deployment":
        for constraint in specification["template"]["spec"]["topologySpreadConstraints"]:
            labels = constraint["labelSelector"]["matchLabels"]
            if len(labels) > 1:
                yield labels
    if document["kind"] == "NetworkPolicy":
        for rule in [*specification["ingress"], *specification["egress"]]:
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                if labels:
                    yield labels
