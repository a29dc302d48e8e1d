"""The clients of a real Kubernetes API server, and the objects that the chart expects there."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.deploy.chart import KUBECTL, Document, run_helm

# Deletion of objects that other objects still refer to can take a moment.
KUBECTL_SECONDS = 60


@dataclass(frozen=True)
class Namespace:
    """A namespace of the API server that KUBECONFIG names."""

    name: str

    def helm(self, *arguments: str) -> str:
        """Run helm and return its output. Raises AssertionError if it fails."""
        done = self.try_helm(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_helm(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run helm, whatever its status."""
        return run_helm(*arguments, "-n", self.name)

    def apply(self, documents: Iterable[Document], *, dry_run: bool = True) -> str:
        """Apply objects with strict validation and return the server's warnings. Raises AssertionError if refused."""
        arguments = [
            "apply",
            "--server-side",
            "--validate=strict",
            *(["--dry-run=server"] if dry_run else []),
            "-f",
            "-",
        ]
        done = kubectl("-n", self.name, *arguments, documents=documents)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def objects(self, selector: str) -> set[str]:
        """Return kind and name of the objects that a label selector matches."""
        kinds = "all,configmap,secret,serviceaccount,networkpolicy,ingress,pvc,pdb,hpa,job"
        done = kubectl("-n", self.name, "get", kinds, "-l", selector, "-o", "json")
        assert done.returncode == 0, done.stderr
        items = json.loads(done.stdout)["items"]
        return {f"{item['kind']}/{item['metadata']['name']}" for item in items}

    def get(self, kind: str, name: str) -> Document:
        """Return one object. Raises AssertionError if there is none."""
        done = kubectl("-n", self.name, "get", kind, name, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: Document = json.loads(done.stdout)
        return found

    def patch_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Set the status of an object, as its controller would. Raises AssertionError if refused."""
        patch = ["patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})]
        done = kubectl("-n", self.name, *patch)
        assert done.returncode == 0, done.stderr


def kubectl(*arguments: str, documents: Iterable[Document] = ()) -> "subprocess.CompletedProcess[str]":
    """Run kubectl with the documents on standard input, whatever its status."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    command = [str(KUBECTL), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS)


def secret(name: str) -> Document:
    """Return a Secret of the operator's."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"url": "postgresql://x"}}


def priority_class(name: str) -> Document:
    """Return a PriorityClass of the operator's."""
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000}


def runtime_class(name: str) -> Document:
    """Return a RuntimeClass of the operator's."""
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"}
