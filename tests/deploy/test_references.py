"""What one object says of another holds: selectors, ports, claims, Secrets, volumes, accounts."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.chart import NAMESPACE, Document, PodSpec, Rendered, pods, rendered
from tests.deploy.environment import container_environment

# What each row of the matrix expects to be there already.
EXPECTED_SECRETS = {
    *("similis-postgres", "postgres-ca", "qdrant-key", "qdrant", "similis-tls", "first-key", "pull", "more"),
    "images-tls",
}
EXPECTED_CONFIG_MAPS = {"qdrant-ca", "database-ca"}
EXPECTED_ACCOUNTS = {"shared", "default"}
EXPECTED_CLAIMS = {"models"}


def test_selectors_find_the_pods_of_one_component_and_no_other(release: Rendered) -> None:
    for document in release.documents:
        for selector in _selectors(document):
            found = {pod.owner for pod in pods(release) if selector.items() <= pod.labels.items()}
            assert len(found) == 1, (document["kind"], document["metadata"]["name"], found)


def test_deployments_select_their_own_pods(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        wanted = deployment["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        assert not {"app.kubernetes.io/version", "helm.sh/chart"} & wanted.keys(), "these change, selectors cannot"


def test_services_point_at_ports_that_containers_have(release: Rendered) -> None:
    for service in release.of("Service"):
        (pod,) = (pod for pod in pods(release) if service["spec"]["selector"].items() <= pod.labels.items())
        named = {port["name"]: port["containerPort"] for port in _ports(pod)}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in named, (service["metadata"]["name"], port)
            if service["spec"].get("clusterIP") == "None":
                # Whoever resolves a headless Service reaches the container itself.
                assert port["port"] == named[port["targetPort"]]


def test_probes_ask_ports_that_containers_have(release: Rendered) -> None:
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
        container = _main(deployment)
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_containers_listen_where_their_ports_say(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        environment = settings(release, deployment)
        ports = {port["name"]: str(port["containerPort"]) for port in _main(deployment)["ports"]}
        assert environment["SIMILIS_METRICS_PORT"] == ports["metrics"]
        if "http" in ports:
            assert environment["SIMILIS_PORT"] == ports["http"]
        else:
            assert environment["SIMILIS_LISTEN"].rpartition(":")[2] == ports["grpc"]
            assert environment["SIMILIS_HEALTH_PORT"] == ports["health"]


def test_services_call_each_other_where_they_listen(release: Rendered) -> None:
    named = {f"{service['metadata']['name']}.{NAMESPACE}.svc": service for service in release.of("Service")}
    asked = 0
    for deployment in release.of("Deployment"):
        for name, value in settings(release, deployment).items():
            if name not in ("SIMILIS_EMBEDDER_ADDRESS", "SIMILIS_TRAINER_ADDRESS"):
                continue
            host, _, port = value.removeprefix("dns:///").rpartition(":")
            assert int(port) in [item["port"] for item in named[host]["spec"]["ports"] if item["name"] == "grpc"]
            assert named[host]["spec"]["clusterIP"] == "None", "clients could not balance"
            asked += 1
    assert asked == 3


def test_mounts_have_volumes_and_volumes_have_mounts(release: Rendered) -> None:
    for pod in pods(release):
        volumes = [volume["name"] for volume in pod.spec.get("volumes", [])]
        assert len(volumes) == len(set(volumes)), pod.owner
        mounted = [mount for container in pod.containers for mount in container.get("volumeMounts", [])]
        assert {mount["name"] for mount in mounted} == set(volumes), pod.owner
        for container in pod.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths)), (pod.owner, container["name"])


def test_settings_name_files_that_are_mounted(release: Rendered) -> None:
    for pod in pods(release):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for container in pod.containers:
            files = {
                f"{mount['mountPath']}/{item['path']}"
                for mount in container.get("volumeMounts", [])
                for item in _items(volumes[mount["name"]])
            }
            if container["name"] == "prefetch":
                # It neither listens nor calls, so it is not given the certificates that its settings name.
                continue
            for name, value in container_environment(release, container).items():
                if name.startswith("SIMILIS_") and name.endswith("_FILE"):
                    assert value in files, (pod.owner, name, value)
            paths = [argument for argument in container.get("args", []) if argument.startswith("/etc/")]
            assert set(paths) <= files, (pod.owner, paths)


def test_folders_that_are_written_are_writable(release: Rendered) -> None:
    for deployment in release.of("Deployment"):
        mounts = _main(deployment)["volumeMounts"]
        writable = {mount["mountPath"] for mount in mounts if not mount.get("readOnly")}
        assert "/tmp" in writable
        environment = settings(release, deployment)
        for name in ("SIMILIS_SPOOL_DIRECTORY", "SIMILIS_MODEL_CACHE", "HF_HOME"):
            folder = environment.get(name)
            assert folder is None or any(f"{folder}/".startswith(f"{path}/") for path in writable), name


def test_names_are_of_objects_that_are_there_or_the_operators(release: Rendered) -> None:
    made = {kind: {document["metadata"]["name"] for document in release.of(kind)} for kind in _KINDS}
    expected = {
        "Secret": EXPECTED_SECRETS,
        "ConfigMap": EXPECTED_CONFIG_MAPS,
        "ServiceAccount": EXPECTED_ACCOUNTS,
        "PersistentVolumeClaim": EXPECTED_CLAIMS,
    }
    for pod in pods(release):
        for kind, name in _named(pod):
            assert name in made[kind] | expected[kind], (pod.owner, kind, name)


def test_a_hook_that_runs_first_needs_nothing_of_the_release() -> None:
    for name in ("minimal", "full"):
        release = rendered(name)
        hooks = [document for document in release.documents if "helm.sh/hook" in _annotations(document)]
        first = [document for document in hooks if "pre-install" in _annotations(document)["helm.sh/hook"]]
        made = {kind: {item["metadata"]["name"] for item in first if item["kind"] == kind} for kind in _KINDS}
        later = {
            (document["kind"], document["metadata"]["name"]) for document in release.documents if document not in first
        }
        (job,) = (pod for pod in pods(release) if pod.owner.startswith("Job/"))
        for kind, named in _named(job):
            assert (kind, named) not in later
            assert named in made[kind] | EXPECTED_SECRETS


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


def test_routes_lead_to_the_gateway(release: Rendered) -> None:
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


def test_the_service_monitor_finds_one_metrics_port_of_each_component() -> None:
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
        stop = _main(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain, grace = (int(environment[f"SIMILIS_{name}_SECONDS"]) for name in ("DRAIN", "SHUTDOWN_GRACE"))
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > stop + drain + grace


def settings(release: Rendered, deployment: Document) -> dict[str, str]:
    """The environment of a Deployment's own container."""
    return container_environment(release, _main(deployment))


_KINDS = ("Secret", "ConfigMap", "ServiceAccount", "PersistentVolumeClaim")


def _main(deployment: Document) -> Document:
    containers: list[Document] = deployment["spec"]["template"]["spec"]["containers"]
    return containers[0]


def _ports(pod: PodSpec) -> list[Document]:
    return [port for container in pod.spec["containers"] for port in container.get("ports", [])]


def _annotations(document: Document) -> dict[str, str]:
    annotations: dict[str, str] = document["metadata"].get("annotations", {})
    return annotations


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


def _items(volume: Document) -> list[Document]:
    source = volume.get("secret") or volume.get("configMap") or {}
    items: list[Document] = source.get("items", [])
    return items


def _named(pod: PodSpec) -> Iterator[tuple[str, str]]:
    """Kind and name of everything that the pod cannot start without."""
    yield "ServiceAccount", pod.spec["serviceAccountName"]
    for secret in pod.spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"]
    for volume in pod.spec.get("volumes", []):
        yield from _named_by_volume(volume)
    for container in pod.containers:
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"]


def _named_by_volume(volume: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"]
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
