"""Helm accepts the chart with every set of values, and explains what it does not accept."""

import re
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import (
    CHART,
    MATRIX,
    NEWEST,
    OLDEST,
    RELEASE,
    loaded,
    pods,
    rendered,
    run_helm,
    template,
    values_file,
    without_cluster,
)

SOURCE = re.compile(r"^# Source: similis/(.*)$", re.MULTILINE)
# Rendered only where the chart sees a cluster; tests/deploy/api and tests/deploy/cluster install it.
NEEDS_A_CLUSTER = {"templates/migrate/api-key-secret.yaml"}


def notes(name: str, *flags: str) -> str:
    """Return the notes that helm prints after an installation as release `x`."""
    given = ["-f", str(values_file(name)), *without_cluster(name), *flags]
    done = run_helm("install", "x", str(CHART), "--dry-run=client", *given)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_lint_reports_no_warning(name: str, version: str) -> None:
    done = run_helm("lint", "--strict", "--kube-version", version, "-f", str(values_file(name)), str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_set_of_values_renders_for_each_kubernetes(name: str, version: str) -> None:
    assert rendered(name, "--kube-version", version).of("Deployment")


def test_an_older_kubernetes_is_refused() -> None:
    done = template("minimal", "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "incompatible with Kubernetes" in done.stderr


def test_the_package_contains_template_files_but_no_test_values(tmp_path: Path) -> None:
    done = run_helm("package", str(CHART), "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("similis-*.tgz")
    with tarfile.open(archive) as tar:
        names = {name.removeprefix("similis/") for name in tar.getnames()}
    assert {"files/rules.yaml", "files/dashboard.json", "files/release_test.py", "values.schema.json"} <= names
    assert not [name for name in names if name.startswith("ci/")]
    done = run_helm("template", "packed", str(archive), "-f", str(values_file("full")))
    assert done.returncode == 0, done.stderr


def test_every_template_renders_one_resource() -> None:
    sources = SOURCE.findall(template("full").stdout)
    assert len(sources) == len(set(sources))
    templates = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")}
    scaling = set(SOURCE.findall(template("scaling").stdout))
    assert templates - NEEDS_A_CLUSTER == set(sources) | scaling, "no set of values renders these templates"


@pytest.mark.parametrize("name", MATRIX)
def test_no_key_occurs_twice(name: str) -> None:
    """Helm would take the last one, and a strict client would refuse the document."""
    done = template(name)
    assert done.returncode == 0, done.stderr
    for document in yaml.compose_all(done.stdout, yaml.CSafeLoader):
        _expect_single_keys(document)


def _expect_single_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), (node.start_mark.line, keys)
        for _, value in node.value:
            _expect_single_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _expect_single_keys(item)


@pytest.mark.parametrize("name", ["full", "odd"])
def test_names_stay_text_where_yaml_would_read_another_type(name: str) -> None:
    done = template(name, "-n", "no", release="on")
    assert done.returncode == 0, done.stderr
    documents = loaded(done.stdout)
    assert {document["metadata"].get("namespace", "no") for document in documents} == {"no"}
    for document in documents:
        labels = document["metadata"].get("labels", {})
        assert labels.get("app.kubernetes.io/instance", "on") == "on", document["metadata"]
        assert all(isinstance(value, str) for value in labels.values()), document["metadata"]
    (monitor,) = (document["spec"] for document in documents if document["kind"] == "ServiceMonitor")
    assert monitor["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "on"
    assert monitor["namespaceSelector"]["matchNames"] == ["no"]
    assert monitor["endpoints"][0]["relabelings"][0]["replacement"] == "on"


def test_the_operators_labels_and_annotations_take_precedence() -> None:
    release = rendered("odd")
    made = release.one("Deployment", "similis-true-gateway")["spec"]["template"]["metadata"]
    assert made["labels"]["app.kubernetes.io/part-of"] == "front"
    assert made["labels"]["app.kubernetes.io/version"] == "9"
    assert made["annotations"]["kubectl.kubernetes.io/default-container"] == "beside"
    assert re.fullmatch("[0-9a-f]{64}", made["annotations"]["checksum/config"]), "changed settings must replace pods"
    for document in release.documents:
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "library", document["kind"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("postgres.existingSecret=",), "postgres.existingSecret is required"),
        (("qdrant.address=",), "qdrant.address is required"),
        (("qdrant.address=qdrant.databases.svc:6333",), "6333"),
        (("tls.enabled=true",), "tls.existingSecret is required"),
        (("tracing.enabled=true",), "tracing.endpoint is required"),
        (("ingress.enabled=true",), "ingress.hosts is required"),
        (("httpRoute.enabled=true",), "httpRoute.parentRefs is required"),
        (("embedder.backbone.name=facebook/dinov2-small",), "embedder.backbone.revision is required"),
        (("apiKey.existingSecret=",), "apiKey.existingSecret is required"),
        (("trainer.autoscaling.kind=keda",), "trainer.autoscaling.keda.prometheusAddress is required"),
        (("gateway.autoscaling.kind=keda",), "gateway.autoscaling.keda.triggers is required"),
        (("gateway.autoscaling.kind=hpa", "gateway.autoscaling.minReplicas=0"), "gateway.autoscaling.minReplicas"),
        (("trainer.autoscaling.kind=hpa", "trainer.autoscaling.minReplicas=0"), "trainer.autoscaling.minReplicas"),
        (("embedder.autoscaling.kind=hpa", "embedder.autoscaling.minReplicas=9"), "embedder.autoscaling.minReplicas"),
        (
            ("gateway.autoscaling.kind=hpa", "gateway.autoscaling.hpa.targetCPUUtilizationPercentage=null"),
            "gateway.autoscaling.hpa",
        ),
        (("postgres.ca.secret=one", "postgres.ca.configMap=other"), "postgres.ca"),
        (("gateway.strategy.maxSurge=0",), "gateway.strategy"),
        (("gateway.strategy.maxSurge=0%",), "gateway.strategy"),
        (("qdrant.tls.ca.secret=one",), "qdrant.tls.ca"),
        (("global.imageRegistry=",), "global.imageRegistry is required"),
        (
            (
                "global.imageRegistry=",
                "gateway.image.repository=a.org/gateway",
                "embedder.image.repository=a.org/embedder",
            ),
            "global.imageRegistry is required",
        ),
        (
            ("metrics.prometheusRule.enabled=true", "metrics.prometheusRule.alerts.Unknown.enabled=false"),
            "metrics.prometheusRule.alerts",
        ),
    ],
)
def test_a_refusal_names_the_value(flags: tuple[str, ...], named: str) -> None:
    done = template("minimal", *(part for flag in flags for part in ("--set", flag)))
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize(
    ("repository", "pulled"),
    [
        ("similis/gateway", "registry.example.org/similis/gateway"),
        ("gateway", "registry.example.org/gateway"),
        ("other.org/similis/gateway", "other.org/similis/gateway"),
        ("other:5000/gateway", "other:5000/gateway"),
        ("localhost/similis/gateway", "localhost/similis/gateway"),
    ],
)
def test_every_image_names_a_registry(repository: str, pulled: str) -> None:
    release = rendered("minimal", "--set", f"gateway.image.repository={repository}")
    assert [
        container["image"].rpartition(":")[0]
        for pod in pods(release)
        if pod.owner in ("Deployment/similis-gateway", "Job/similis-migrate", "Pod/similis-test")
        for container in pod.containers
    ] == [pulled] * 4


@pytest.mark.parametrize("name", MATRIX)
def test_notes_show_how_to_get_a_key(name: str) -> None:
    shown = notes(name)
    assert "similis keys create --name" in shown
    assert ("get secret" in shown) == (name != "bare")


def test_notes_show_the_path_of_a_route_without_host_names() -> None:
    assert "  /similis under every host name" in notes("scaling", "--set", "httpRoute.path=/similis")


@pytest.mark.parametrize(
    "name",
    [
        *("commonLabels", "commonAnnotations", "migrate.podAnnotations", "metrics.dashboard.labels"),
        *("gateway.podAnnotations", "gateway.podLabels", "gateway.resources", "gateway.service.annotations"),
        *("migrate.podLabels", "gateway.probes.liveness", "metrics.prometheusRule.alerts"),
    ],
)
def test_null_means_empty(name: str) -> None:
    assert rendered("minimal", "--set", f"{name}=null", "--set", "metrics.dashboard.enabled=true").documents


def test_long_names_fit_kubernetes_and_stay_different() -> None:
    names: list[set[str]] = []
    for end in "ab":
        done = template("minimal", release=f"a-release-with-a-name-of-fifty-one-characters-or-s{end}")
        assert done.returncode == 0, done.stderr
        names.append({document["metadata"]["name"] for document in loaded(done.stdout)})
    assert all(len(name) <= 63 for found in names for name in found)
    assert names[0] & names[1] == set()


def test_an_object_in_another_namespace_has_the_release_namespace_in_its_name() -> None:
    flags = [
        part
        for name in ("serviceMonitor", "prometheusRule", "dashboard")
        for part in ("--set", f"metrics.{name}.enabled=true", "--set", f"metrics.{name}.namespace=monitoring")
    ]
    found = [item for item in rendered("minimal", *flags).documents if item["metadata"]["namespace"] == "monitoring"]
    assert sorted(item["metadata"]["name"] for item in found) == [
        *("images-similis", "images-similis", "images-similis-dashboard")
    ]


def test_a_sub_path_leads_to_the_routes_of_the_gateway() -> None:
    route = rendered("scaling", "--set", "httpRoute.path=/similis").one("HTTPRoute", "similis-gateway")
    (rule,) = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/similis"}}]
    (rewrite,) = rule["filters"]
    assert rewrite["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    ingress = rendered("full", "--set", "ingress.path=/similis").one("Ingress", "similis-gateway")
    assert {path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]} == {"/similis"}


def test_further_rules_of_routes_are_added() -> None:
    rule = '{"host": "other.example.org"}'
    full = rendered("full", "--set-json", f"ingress.extraRules=[{rule}]", "--set-json", "httpRoute.extraRules=[{}]")
    assert full.one("Ingress", "similis-gateway")["spec"]["rules"][-1] == {"host": "other.example.org"}
    assert full.one("HTTPRoute", "similis-gateway")["spec"]["rules"][-1] == {}


def test_operators_set_node_ports_names_and_probes() -> None:
    flags = {
        "gateway.service.type": '"NodePort"',
        "gateway.service.nodePort": "30080",
        "gateway.hostAliases": '[{"ip": "10.0.0.1", "hostnames": ["images"]}]',
        "gateway.dnsConfig": '{"options": [{"name": "ndots", "value": "1"}]}',
        "gateway.probes.liveness.failureThreshold": "12",
    }
    release = rendered("minimal", *(part for item in flags.items() for part in ("--set-json", "=".join(item))))
    assert release.one("Service", "similis-gateway")["spec"]["ports"][0]["nodePort"] == 30080
    found = [pod.spec for pod in pods(release) if pod.owner in ("Deployment/similis-gateway", "Job/similis-migrate")]
    assert [spec["hostAliases"][0]["ip"] for spec in found] == ["10.0.0.1"] * 2
    assert [spec["dnsConfig"]["options"][0]["name"] for spec in found] == ["ndots"] * 2
    (container,) = release.one("Deployment", "similis-gateway")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["failureThreshold"] == 12
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_parent_chart_can_disable_this_chart(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "similis")
    (parent / "Chart.yaml").write_text(
        "{apiVersion: v2, name: parent, version: 1.0.0, "
        "dependencies: [{name: similis, version: 0.1.0, condition: similis.enabled}]}",
        encoding="utf-8",
    )
    values = ["global.imageRegistry=a.org", "similis.postgres.existingSecret=p", "similis.apiKey.enabled=false"]
    flags = [part for value in [*values, "similis.qdrant.address=q:6334"] for part in ("--set", value)]
    for enabled in (True, False):
        done = run_helm("template", RELEASE, str(parent), *flags, "--set", f"similis.enabled={str(enabled).lower()}")
        assert done.returncode == 0, done.stderr
        assert ("kind: Deployment" in done.stdout) == enabled
