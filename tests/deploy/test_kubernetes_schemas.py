"""Every object is one that Kubernetes knows, field for field, in the oldest and the newest version."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.deploy.chart import MATRIX, NEWEST, OLDEST, TOOLS, Document, rendered

CUSTOM = ("monitoring.coreos.com/", "gateway.networking.k8s.io/", "keda.sh/")


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """All definitions of a version are several megabytes, and the package reads them for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_objects_have_no_unknown_or_wrong_field(name: str, version: str) -> None:
    for document in rendered(name, "--kube-version", version).documents:
        try:
            if not document["apiVersion"].startswith(CUSTOM):
                used = kubernetes_validate.validate(document, version, strict=True)
                assert used == version.rpartition(".")[0]
            else:
                jsonschema.validate(document, _custom_schema(document["apiVersion"], document["kind"]))
        except jsonschema.ValidationError as error:
            pytest.fail(f"{document['kind']}/{document['metadata']['name']}: {error.json_path}: {error.message}")


def test_the_matrix_has_every_custom_resource() -> None:
    found = {document["kind"] for name in MATRIX for document in rendered(name).documents}
    assert {"ServiceMonitor", "PrometheusRule", "HTTPRoute", "ScaledObject"} <= found


def test_an_unknown_field_of_a_custom_resource_is_found() -> None:
    (route,) = rendered("full").of("HTTPRoute")
    wrong = json.loads(json.dumps(route))
    wrong["spec"]["rules"][0]["timeout"] = {"request": "1s"}
    with pytest.raises(jsonschema.ValidationError, match="timeout"):
        jsonschema.validate(wrong, _custom_schema(route["apiVersion"], route["kind"]))


@cache
def _custom_schema(api_version: str, kind: str) -> Any:
    path = TOOLS / "schemas" / f"{api_version.replace('/', '_')}_{kind}.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    # Refers to a schema of another package.
    schema["properties"]["metadata"] = {"type": "object"}
    return _closed(schema)


def _closed(node: Any) -> Any:
    """The schema with unknown keys refused, as the API server warns of them and drops them."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed: Document = {key: _closed(value) for key, value in node.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
