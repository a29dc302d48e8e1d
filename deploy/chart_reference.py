"""Write the reference of the chart's values: comments in values.yaml, the table in README.md, settings in the schema.

values.schema.json describes the values, and the services' `config.py` define their settings.
`python deploy/chart_reference.py` updates the three files; `--check` fails if they are out of date.
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
# Settings that the templates set, mostly from dedicated values.
SET_BY_TEMPLATES = frozenset(
    {
        *("host", "port", "listen", "health_port", "metrics_host", "metrics_port", "log_level", "log_format"),
        *("shutdown_grace_seconds", "drain_seconds", "tls_cert_file", "tls_key_file", "tls_ca_file", "tls_server_name"),
        *("database_url", "database_ca_file", "qdrant_address", "qdrant_tls", "qdrant_ca_file", "vector_prefix"),
        *("embedder_address", "trainer_address", "heidicon_url", "cors_origins", "read_key_required"),
        *("spool_directory", "backbone", "backbone_revision", "device", "model_cache", "allow_private_addresses"),
        *("fetch_image_urls", "serve_thumbnails", "tracing"),
    }
)

# Settings of the one-machine run, where the databases are on the gateway's disk. They have no effect in a cluster.
NOT_IN_A_CLUSTER = frozenset({"data_directory", "min_free_disk_bytes"})

KEY = re.compile(r"( *)([A-Za-z]\w*):")

Json = dict[str, Any]


def settings_of(service: str) -> list[str]:
    """Return the settings of a service that `<service>.settings` may contain."""
    fields = SERVICES[service].model_fields
    return sorted(
        name
        for name, field in fields.items()
        if name not in SET_BY_TEMPLATES | NOT_IN_A_CLUSTER and "SecretStr" not in str(field.annotation)
    )


def schema_text(schema: Json) -> str:
    """Return the content of the schema's file, with the current settings of the services."""
    for service in SERVICES:
        names = schema["properties"][service]["properties"]["settings"]["propertyNames"]
        names["enum"] = settings_of(service)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def resolved(schema: Json, node: Json) -> Json:
    """Return the node, or the definition that it refers to."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Json = schema["$defs"][reference.removeprefix("#/$defs/")]
    return found


def rows(schema: Json, node: Json, values: Json, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, default (as JSON) and description of each value. Objects with known keys have a row, too."""
    for name, reference in node["properties"].items():
        child, at = resolved(schema, reference), f"{path}{name}"
        if "properties" in child:
            yield f"**{at}**", "", child["description"]
            yield from rows(schema, child, values.get(name, {}), f"{at}.")
        elif name in values:
            yield f"`{at}`", f"`{json.dumps(values[name])}`", child["description"]


def readme_text(readme: str, schema: Json, values: Json) -> str:
    """Return the README with the current table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [f"| {name} | {default} | {meaning} |" for name, default, meaning in rows(schema, schema, values)]
    table = "\n".join(["| value | default | description |", "|---|---|---|", *lines])
    return f"{before}{BEGIN}{table}\n{END}{after}"


def values_text(values: str, schema: Json) -> str:
    """Return values.yaml with a comment above each value. The comment at the top stays."""
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
    """Yield the description of the value at a path, or nothing for a key that the schema does not know."""
    node = schema
    for name in path:
        if name not in node.get("properties", {}):
            return
        node = resolved(schema, node["properties"][name])
    yield node["description"]


def main(arguments: list[str]) -> int:
    """Write the files, or report with `--check` which of them are out of date."""
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
            sys.stderr.write(f"{path.name} is out of date: run 'make chart'.\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(fresh[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
