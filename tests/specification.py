"""The specification of the API, for tests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from gateway.about.specification import load_specification

Node = dict[str, Any]

DOCUMENT: Node = json.loads(load_specification().json.body)


@dataclass(frozen=True)
class Operation:
    """An operation, with references resolved in its parameters, body and responses."""

    id: str
    method: str
    path: str
    parameters: list[Node]
    body: Node
    responses: dict[str, Node]


def follow(node: Node) -> Node:
    """Return the node that a reference names; another node as it is."""
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def operations() -> Iterator[Operation]:
    """Yield every operation."""
    for path, methods in DOCUMENT["paths"].items():
        for method, node in methods.items():
            yield Operation(
                id=node["operationId"],
                method=method.upper(),
                path=path,
                parameters=[follow(parameter) for parameter in node.get("parameters", [])],
                body=node.get("requestBody", {}),
                responses={status: follow(response) for status, response in node["responses"].items()},
            )


def validate(schema: Node, value: Any) -> None:
    """Check a value. It must not have fields that the schema does not describe. Raises AssertionError."""
    # References in the schema are found in the same document, so it needs the components.
    validator = Draft202012Validator(_closed({**schema, "components": DOCUMENT["components"]}))
    error = best_match(validator.iter_errors(value))
    assert error is None, f"{error.json_path}: {error.message}"


def _closed(node: Any) -> Any:
    """Return a schema whose objects have no fields but those that it describes."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(each) for name, each in node.items()}
    is_object = isinstance(node.get("properties"), dict) and ("type" in node)
    return {"additionalProperties": False, **closed} if is_object else closed
