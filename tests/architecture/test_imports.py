"""Imports go down only: services stand on catalog, servicekit and proto, and never on each other."""

import ast
import re
from pathlib import Path

import pytest

import similis

PACKAGE = Path(similis.__file__).parent
SERVICEKIT = {"servicekit"}
MAY_IMPORT = {
    "proto": {"proto"},
    "servicekit": SERVICEKIT,
    "catalog": {"catalog"} | SERVICEKIT,
    "embedder": {"embedder", "proto"} | SERVICEKIT,
    "trainer": {"trainer", "catalog", "proto"} | SERVICEKIT,
    "gateway": {"gateway", "catalog", "proto"} | SERVICEKIT,
    "standalone": {"standalone", "catalog", "proto"} | SERVICEKIT,
}
TORCH = {"embedder", "trainer"}
STORES = re.compile(r"asyncpg|qdrant_client|qdrant_edge")
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "_pb2" not in path.name]


def imported(path: Path) -> set[str]:
    """The full names of the modules that a file imports, at its top or inside of a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_downwards_only(path: Path) -> None:
    part = part_of(path)
    if part not in MAY_IMPORT:
        assert part in ("__init__.py", "__main__.py")
        return
    parts = {name.split(".")[1] for name in imported(path) if name.startswith("similis.")}
    assert parts <= MAY_IMPORT[part]


def test_only_embedder_and_trainer_import_torch() -> None:
    users = {
        part_of(path) for path in modules() if any(n.split(".")[0] in ("torch", "transformers") for n in imported(path))
    }
    assert users <= TORCH


def test_the_types_of_postgres_and_qdrant_stop_in_the_catalog() -> None:
    for path in modules():
        if any(STORES.match(name) for name in imported(path)):
            assert part_of(path) in ("catalog", "standalone"), path


def test_protobuf_types_stop_at_servicers_and_clients() -> None:
    for path in modules():
        if any("_pb2" in name for name in imported(path)) and part_of(path) in ("gateway", "trainer", "embedder"):
            assert re.search(r"servicer|client|stream", path.stem), path


def test_the_environment_is_read_by_settings_only() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if re.search(r"os\.environ|os\.getenv", text) and part_of(path) != "standalone":
            assert path.name in ("config.py", "settings.py"), path


def test_a_module_has_the_name_of_what_it_holds() -> None:
    assert not [path for path in modules() if path.stem in VAGUE]
