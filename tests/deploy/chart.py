"""The chart, as the real helm renders it."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "similis"
EXAMPLES = ROOT / "deploy" / "helm" / "examples"
TOOLS = ROOT / "build" / "tools"
HELM = TOOLS / "helm" / "helm"
KUBECTL = TOOLS / "helm" / "kubectl"

# The oldest Kubernetes version that Chart.yaml allows, and the newest one that there are schemas for.
OLDEST, NEWEST = "1.30.0", "1.37.0"
RELEASE, NAMESPACE = "similis", "images"

Document = dict[str, Any]

# Every set of values that the tests render: the chart's own, and the examples for this chart alone.
VALUES_FILES = {
    **{path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))},
    **{name: EXAMPLES / name / "values.yaml" for name in ("argocd", "openshift")},
}
MATRIX = list(VALUES_FILES)


@dataclass(frozen=True)
class Rendered:
    """The documents of one release."""

    name: str
    documents: tuple[Document, ...]

    def of(self, kind: str) -> list[Document]:
        """Return all documents of a kind."""
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str, name: str) -> Document:
        """Return the document with that kind and name. Raises ValueError unless there is exactly one."""
        (found,) = (document for document in self.of(kind) if document["metadata"]["name"] == name)
        return found


@dataclass(frozen=True)
class PodSpec:
    """A pod of the release: the kind and name of its owner, its labels and its specification."""

    owner: str
    labels: dict[str, str]
    spec: Document = field(repr=False)

    @property
    def containers(self) -> list[Document]:
        """All containers, including init containers."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def run_helm(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm and return its output, whatever its status. Raises FileNotFoundError before `make tools`."""
    inherited = {**os.environ, "HELM_CACHE_HOME": str(TOOLS / "cache"), "HELM_NO_PLUGINS": "1", **(environment or {})}
    return subprocess.run(
        [str(HELM), *arguments], env=inherited, capture_output=True, text=True, check=False, timeout=60
    )


def values_file(name: str) -> Path:
    """Return the file of one set of values."""
    return VALUES_FILES[name]


def without_cluster(name: str) -> list[str]:
    """Return the flags that a set of values needs to be rendered where the chart cannot generate an API key."""
    api_key = yaml.safe_load(values_file(name).read_text(encoding="utf-8")).get("apiKey", {})
    return [] if api_key else ["--set", "apiKey.existingSecret=similis-first-key"]


def template(name: str, *flags: str, release: str = RELEASE) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with one set of values, followed by the flags."""
    given = ["-f", str(values_file(name)), *without_cluster(name), *flags]
    return run_helm("template", release, str(CHART), "-n", NAMESPACE, *given)


@cache
def rendered(name: str, *flags: str) -> Rendered:
    """Return the rendered documents. Raises AssertionError with helm's message."""
    done = template(name, *flags)
    assert done.returncode == 0, done.stderr
    return Rendered(name, tuple(loaded(done.stdout)))


def loaded(text: str) -> list[Document]:
    """Return the documents of a YAML text."""
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document is not None]


def pods(release: Rendered) -> Iterator[PodSpec]:
    """Yield every pod of the release."""
    for document in release.documents:
        pod = pod_of(document)
        if pod is not None:
            yield pod


def pod_of(document: Document) -> PodSpec | None:
    """Return the pod that a document describes, or None."""
    owner = f"{document['kind']}/{document['metadata']['name']}"
    if document["kind"] == "Pod":
        return PodSpec(owner, document["metadata"]["labels"], document["spec"])
    if document["kind"] in ("Deployment", "Job", "CronJob"):
        job = document["spec"].get("jobTemplate", document)
        made = job["spec"]["template"]
        return PodSpec(owner, made["metadata"]["labels"], made["spec"])
    return None
