"""The schema of the values is strict, complete and in step with values.yaml, README and the services' settings."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.chart import CHART, MATRIX, ROOT, template, values_file

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    name = node.get("$ref")
    return node if name is None else SCHEMA["$defs"][name.removeprefix("#/$defs/")]


def objects(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield every object with known keys, and its path."""
    node = resolved(node)
    if "properties" in node:
        yield path, node
        for name, child in node["properties"].items():
            yield from objects(child, (*path, name))


OBJECTS = dict(objects(SCHEMA))


def test_every_value_is_described() -> None:
    for path, node in OBJECTS.items():
        for name, child in node["properties"].items():
            assert resolved(child).get("description", "").endswith((".", "`", ")")), (*path, name)


def test_every_value_has_a_default_and_every_default_a_schema() -> None:
    for path, node in OBJECTS.items():
        defaults: Any = VALUES
        for name in path:
            defaults = defaults[name]
        known = set(node["properties"])
        # Resource claims have no useful default.
        assert known - set(defaults) <= {"claims"}, path
        assert set(defaults) <= known or path == (), path
    assert set(VALUES) == set(SCHEMA["properties"])


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [path for path in OBJECTS if path != ("global",)], ids=".".join)
def test_an_unknown_key_is_refused(path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {}
    wrong = values
    for name in path:
        wrong[name] = {}
        wrong = wrong[name]
    wrong["replicaCount"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replicaCount"):
        VALIDATOR.validate(values)


@pytest.mark.parametrize("name", MATRIX)
def test_every_set_of_values_is_valid(name: str) -> None:
    VALIDATOR.validate(yaml.safe_load(values_file(name).read_text(encoding="utf-8")))


def test_helm_refuses_values_that_the_schema_refuses() -> None:
    for flag, message in {
        "gateway.replicaCount=1": "replicaCount",
        "gateway.autoscaling.kind=both": "kind",
        "gateway.settings.max_csv_byts=1": "max_csv_byts",
        "gateway.settings.database_url=postgresql://x": "database_url",
        "gateway.settings.min_free_disk_bytes=1": "min_free_disk_bytes",
        "embedder.backbone.revision=main": "revision",
        "gateway.service.port=http": "port",
        "gateway.service.extraSpec.ports[0].port=1": "'ports'",
        r"trainer.podLabels.app\.kubernetes\.io/name=mine": "app.kubernetes.io/name",
        r"commonLabels.app\.kubernetes\.io/component=mine": "app.kubernetes.io/component",
        "global.imageRegistry=https://registry.example.org": "imageRegistry",
        "metrics.prometheusRule.alerts.SimilisNotScraped.severity=warning": "severity",
    }.items():
        done = template("minimal", "--set", flag)
        assert done.returncode != 0, flag
        assert message in done.stderr


def test_readme_and_schema_are_in_step() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "chart_reference.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
