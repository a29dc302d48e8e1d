"""Writes what the chart says of its values: comments in values.yaml, the table in README.md, settings in the schema.

What a value means stands in values.schema.json alone, and what the services can be told in their `config.py`.
`python deploy/chart_reference.py` brings the three files in step with them; `--check` fails when they are not.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from embedder.config import EmbedderSettings
from gateway.config import GatewaySettings
from servicekit.settings import ServiceSettings
from trainer.config import TrainerSettings

CHART = Path(__file__).resolve().parent / "helm" / "similis"
BEGIN, END = "<!-- values: written by deploy/chart_reference.py -->\n", "<!-- end of values -->\n"
SERVICES: dict[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "embedder": EmbedderSettings,
    "trainer": TrainerSettings,
}
# Given by the templates, mostly from values of their own.
GIVEN = frozenset(
    {
        *("host", "port", "listen", "health_port", "metrics_host", "metrics_port", "log_level", "log_format"),
        *("shutdown_grace_seconds", "drain_seconds", "tls_cert_file", "tls_key_file", "tls_ca_file", "tls_server_name"),
        *("database_url", "database_ca_file", "qdrant_address", "qdrant_tls", "qdrant_ca_file", "vector_prefix"),
        *("embedder_address", "trainer_address", "heidicon_url", "cors_origins", "read_key_required"),
        *("spool_directory", "backbone", "backbone_revision", "device", "model_cache", "allow_private_addresses"),
        "tracing",
    }
)

# Of the one-machine run, whose databases are on the gateway's disk: in a cluster they do nothing.
NOT_IN_A_CLUSTER = frozenset({"data_directory", "min_free_disk_bytes"})

KEY = re.compile(r"( *)([A-Za-z]\w*):")

Json = dict[str, Any]


def settings_of(service: str) -> list[str]:
    """The settings of a service that `<service>.settings` may name."""
    fields = SERVICES[service].model_fields
    return sorted(
        name
        for name, field in fields.items()
        if name not in GIVEN | NOT_IN_A_CLUSTER and "SecretStr" not in str(field.annotation)
    )


def schema_text(schema: Json) -> str:
    """The schema as its file holds it, with the settings of today."""
    for service in SERVICES:
        names = schema["properties"][service]["properties"]["settings"]["propertyNames"]
        names["enum"] = settings_of(service)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def resolved(schema: Json, node: Json) -> Json:
    """The node, or what its reference stands for."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Json = schema["$defs"][reference.removeprefix("#/$defs/")]
    return found


def rows(schema: Json, node: Json, values: Json, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each value: its path, its default as JSON, what it means. Objects of known keys are described by a row too."""
    for name, reference in node["properties"].items():
        child, at = resolved(schema, reference), f"{path}{name}"
        if "properties" in child:
            yield f"**{at}**", "", child["description"]
            yield from rows(schema, child, values.get(name, {}), f"{at}.")
        elif name in values:
            yield f"`{at}`", f"`{json.dumps(values[name])}`", child["description"]


def readme_text(readme: str, schema: Json, values: Json) -> str:
    """The README with the table of today between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [f"| {name} | {default} | {meaning} |" for name, default, meaning in rows(schema, schema, values)]
    table = "\n".join(["| value | default | |", "|---|---|---|", *lines])
    return f"{before}{BEGIN}{table}\n{END}{after}"


def values_text(values: str, schema: Json) -> str:
    """values.yaml with what each value means in a comment above it. The comment at its top stays."""
    head, _, rest = values.partition("\n\n")
    lines: list[str] = []
    path: list[str] = []
    for line in rest.splitlines():
        if line.lstrip().startswith("#"):
            continue
        key = KEY.match(line)
        if key is not None:
            path = [*path[: len(key[1]) // 2], key[2]]
            for meaning in described(schema, path):
                lines += textwrap.wrap(meaning, 120, initial_indent=f"{key[1]}# ", subsequent_indent=f"{key[1]}# ")
        lines.append(line)
    return "\n".join([head, "", *lines]) + "\n"


def described(schema: Json, path: list[str]) -> Iterator[str]:
    """What the value at the path means, or nothing when it is a key of the operator's own."""
    node = schema
    for name in path:
        if name not in node.get("properties", {}):
            return
        node = resolved(schema, node["properties"][name])
    yield node["description"]


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` says whether they are in step."""
    schema_path, readme_path, values_path = (
        CHART / name for name in ("values.schema.json", "README.md", "values.yaml")
    )
    schema = json.loads(schema_path.read_text(encoding="utf-8"))
    values = values_path.read_text(encoding="utf-8")
    fresh = {
        schema_path: schema_text(schema),
        readme_path: readme_text(readme_path.read_text(encoding="utf-8"), schema, yaml.safe_load(values)),
        values_path: values_text(values, schema),
    }
    stale = [path for path, text in fresh.items() if path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} is out of step: run 'make chart'.\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(fresh[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
