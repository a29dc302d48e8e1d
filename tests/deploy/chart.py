"""The chart as the real helm renders it."""

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
TOOLS = ROOT / "build" / "tools"
HELM = TOOLS / "helm" / "helm"
KUBECTL = TOOLS / "helm" / "kubectl"

# The oldest that Chart.yaml allows, and the newest that there are schemas of.
OLDEST, NEWEST = "1.30.0", "1.37.0"
RELEASE, NAMESPACE = "similis", "images"

Document = dict[str, Any]

# One file of values for each way to install it.
MATRIX = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))


@dataclass(frozen=True)
class Rendered:
    """The documents of one release."""

    name: str
    documents: tuple[Document, ...]

    def of(self, kind: str) -> list[Document]:
        """All documents of a kind."""
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str, name: str) -> Document:
        """The document of that kind and name. Raises ValueError unless there is exactly one."""
        (found,) = (document for document in self.of(kind) if document["metadata"]["name"] == name)
        return found


@dataclass(frozen=True)
class PodSpec:
    """A pod that the release makes: the kind and name of what makes it, its labels and specification."""

    owner: str
    labels: dict[str, str]
    spec: Document = field(repr=False)

    @property
    def containers(self) -> list[Document]:
        """All containers, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def run_helm(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm and gives what it said, whatever that is. Raises FileNotFoundError where `make tools` was not run."""
    told = {**os.environ, "HELM_CACHE_HOME": str(TOOLS / "cache"), "HELM_NO_PLUGINS": "1", **(environment or {})}
    return subprocess.run([str(HELM), *arguments], env=told, capture_output=True, text=True, check=False, timeout=60)


def values_file(name: str) -> Path:
    """The file of a row of the matrix."""
    return CHART / "ci" / f"{name}-values.yaml"


def template(name: str, *flags: str, release: str = RELEASE) -> subprocess.CompletedProcess[str]:
    """`helm template` with the values of that name; flags follow."""
    return run_helm("template", release, str(CHART), "-n", NAMESPACE, "-f", str(values_file(name)), *flags)


@cache
def rendered(name: str, *flags: str) -> Rendered:
    """The documents that those values give. Raises AssertionError with helm's words."""
    done = template(name, *flags)
    assert done.returncode == 0, done.stderr
    return Rendered(name, tuple(loaded(done.stdout)))


def loaded(text: str) -> list[Document]:
    """The documents of a YAML text."""
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document is not None]


def pods(release: Rendered) -> Iterator[PodSpec]:
    """Every pod of the release."""
    for document in release.documents:
        owner = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield PodSpec(owner, document["metadata"]["labels"], document["spec"])
        elif document["kind"] in ("Deployment", "Job"):
            made = document["spec"]["template"]
            yield PodSpec(owner, made["metadata"]["labels"], made["spec"])
