"""Helm itself accepts the chart with every row of the matrix, and says clearly what it does not accept."""

import re
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import CHART, MATRIX, NEWEST, OLDEST, loaded, pods, rendered, run_helm, template, values_file

SOURCE = re.compile(r"^# Source: similis/(.*)$", re.MULTILINE)


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_lints_without_a_warning(name: str, version: str) -> None:
    done = run_helm("lint", "--strict", "--kube-version", version, "-f", str(values_file(name)), str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_renders_for_each_kubernetes(name: str, version: str) -> None:
    assert rendered(name, "--kube-version", version).of("Deployment")


def test_is_refused_by_an_older_kubernetes() -> None:
    done = template("minimal", "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "incompatible with Kubernetes" in done.stderr


def test_package_holds_what_the_templates_read_and_nothing_else(tmp_path: Path) -> None:
    done = run_helm("package", str(CHART), "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("similis-*.tgz")
    with tarfile.open(archive) as tar:
        names = {name.removeprefix("similis/") for name in tar.getnames()}
    assert {"files/rules.yaml", "files/dashboard.json", "files/release_test.py", "values.schema.json"} <= names
    assert not [name for name in names if name.startswith("ci/")]
    done = run_helm("template", "packed", str(archive), "-f", str(values_file("full")))
    assert done.returncode == 0, done.stderr


def test_is_one_resource_a_template() -> None:
    sources = SOURCE.findall(template("full", "--set", "apiKey.existingSecret=").stdout)
    assert len(sources) == len(set(sources))
    templates = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")}
    scaling = set(SOURCE.findall(template("scaling").stdout))
    assert templates == set(sources) | scaling, "no row of the matrix renders these"


@pytest.mark.parametrize("name", MATRIX)
def test_no_key_stands_twice(name: str) -> None:
    """Helm takes the last one; what applies the rendered text strictly, refuses it."""
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
def test_names_are_text_even_where_yaml_reads_something_else(name: str) -> None:
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


def test_labels_and_annotations_of_the_operators_come_before_ours() -> None:
    release = rendered("odd")
    made = release.one("Deployment", "similis-true-gateway")["spec"]["template"]["metadata"]
    assert made["labels"]["app.kubernetes.io/part-of"] == "front"
    assert made["labels"]["app.kubernetes.io/version"] == "9"
    assert made["annotations"]["kubectl.kubernetes.io/default-container"] == "beside"
    assert re.fullmatch("[0-9a-f]{64}", made["annotations"]["checksum/config"]), "else no pod sees changed settings"
    for document in release.documents:
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "library", document["kind"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("postgres.existingSecret=",), "postgres.existingSecret is required"),
        (("qdrant.address=",), "qdrant.address is required"),
        (("tls.enabled=true",), "tls.existingSecret is required"),
        (("tracing.enabled=true",), "tracing.endpoint is required"),
        (("ingress.enabled=true",), "ingress.hosts is required"),
        (("httpRoute.enabled=true",), "httpRoute.parentRefs is required"),
        (("trainer.autoscaling.kind=keda",), "trainer.autoscaling.keda.prometheusAddress is required"),
        (("gateway.autoscaling.kind=keda",), "gateway.autoscaling.keda.triggers is required"),
        (("gateway.autoscaling.kind=hpa", "gateway.autoscaling.minReplicas=0"), "minReplicas cannot be 0"),
        (("trainer.autoscaling.kind=hpa", "trainer.autoscaling.minReplicas=0"), "minReplicas cannot be 0"),
        (("embedder.autoscaling.kind=hpa", "embedder.autoscaling.minReplicas=9"), "minReplicas is more than max"),
        (
            ("gateway.autoscaling.kind=hpa", "gateway.autoscaling.hpa.targetCPUUtilizationPercentage=null"),
            "has nothing to scale by",
        ),
        (
            ("postgres.ca.secret=one", "postgres.ca.configMap=other"),
            "postgres-ca: name a Secret or a ConfigMap, not both",
        ),
        (("gateway.strategy.maxSurge=0",), "would never replace a pod"),
        (("gateway.strategy.maxSurge=0%",), "would never replace a pod"),
        (("qdrant.tls.ca.secret=one",), "qdrant.tls.ca is of no use without TLS"),
        (("global.imageRegistry=",), "global.imageRegistry is required"),
        (
            (
                "global.imageRegistry=",
                "gateway.image.repository=a.org/gateway",
                "embedder.image.repository=a.org/embedder",
            ),
            "global.imageRegistry is required",
        ),
    ],
)
def test_says_what_is_missing_or_cannot_work(flags: tuple[str, ...], said: str) -> None:
    done = template("minimal", *(part for flag in flags for part in ("--set", flag)))
    assert done.returncode != 0
    assert said in done.stderr


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
def test_every_image_has_a_registry_its_own_or_the_one_of_all(repository: str, pulled: str) -> None:
    release = rendered("minimal", "--set", f"gateway.image.repository={repository}")
    assert [
        container["image"].rpartition(":")[0]
        for pod in pods(release)
        if pod.owner in ("Deployment/similis-gateway", "Job/similis-migrate", "Pod/similis-test")
        for container in pod.containers
    ] == [pulled] * 4


@pytest.mark.parametrize("name", MATRIX)
def test_notes_say_how_to_get_a_key(name: str) -> None:
    done = run_helm("install", "x", str(CHART), "--dry-run=client", "-f", str(values_file(name)))
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert "similis keys create --name" in notes
    assert ("get secret" in notes) == (name != "bare")


def test_notes_say_where_a_route_without_host_names_leads() -> None:
    done = run_helm("install", "x", str(CHART), "--dry-run=client", "-f", str(values_file("scaling")))
    assert "as the Gateway's listeners have it:\n  under every host name of theirs\n" in done.stdout


def test_notes_read_the_key_where_the_chart_puts_it() -> None:
    done = run_helm("install", "x", str(CHART), "--dry-run=client", "-f", str(values_file("minimal")))
    secret = rendered("minimal").one("Secret", "similis-api-key")
    (key,) = secret["stringData"]
    assert f'{{{{index .data "{key}" | base64decode}}}}' in done.stdout
    assert "secret x-similis-api-key" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        *("commonLabels", "commonAnnotations", "migrate.podAnnotations", "metrics.dashboard.labels"),
        *("gateway.podAnnotations", "gateway.podLabels", "gateway.resources", "gateway.service.annotations"),
    ],
)
def test_a_key_without_a_value_is_an_empty_one(name: str) -> None:
    assert rendered("minimal", "--set", f"{name}=null", "--set", "metrics.dashboard.enabled=true").documents


def test_long_names_stay_within_what_kubernetes_takes() -> None:
    done = template("minimal", release="a-release-with-a-name-of-fifty-characters-or-so-abc")
    assert done.returncode == 0, done.stderr
    for document in loaded(done.stdout):
        assert len(document["metadata"]["name"]) <= 63
