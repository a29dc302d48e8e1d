"""Imports go down only: the services stand on catalog, servicekit and the generated code, and never on each other."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.packages import ROOT, imports, module_name, modules, package_of

SERVICEKIT = {"servicekit"}
MAY_IMPORT = {
    "similis": {"similis"},
    "similis_client": {"similis_client"},
    "similis_cli": {"similis_cli", "similis_client"},
    "servicekit": SERVICEKIT,
    "catalog": {"catalog"} | SERVICEKIT,
    "embedder": {"embedder", "similis"} | SERVICEKIT,
    "trainer": {"trainer", "catalog", "similis"} | SERVICEKIT,
    "gateway": {"gateway", "catalog", "similis"} | SERVICEKIT,
    "local_qdrant": {"local_qdrant"} | SERVICEKIT,
    "standalone": {"standalone", "catalog"} | SERVICEKIT,
}
# The process of `similis up` in which two services run is put together here.
COMPOSED = "standalone.gateway_and_embedder."
TORCH = {"embedder", "trainer"}
STORES = re.compile(r"asyncpg|qdrant_client|qdrant_edge|servicekit\.qdrant_api")
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
MOST_MODULES = 15


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_downwards_only(path: Path) -> None:
    packages = {name.partition(".")[0] for name in imports(path)} & set(MAY_IMPORT)
    composed = {"gateway", "embedder"} if module_name(path).startswith(COMPOSED) else set()
    assert packages <= MAY_IMPORT[package_of(path)] | composed


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module_name(path): path for path in modules()}
    edges = {name: {found for found in imports(path) if found in names} - {name} for name, path in names.items()}
    while leaves := {name for name, needed in edges.items() if not needed & set(edges)}:
        edges = {name: needed for name, needed in edges.items() if name not in leaves}
    assert sorted(edges) == []


def test_only_embedder_and_trainer_import_torch() -> None:
    users = {
        package_of(path)
        for path in modules()
        if {n.partition(".")[0] for n in imports(path)} & {"torch", "transformers"}
    }
    assert users <= TORCH


def test_the_types_of_postgres_and_qdrant_stop_in_the_catalog() -> None:
    for path in modules():
        if path != ROOT / "servicekit/qdrant_api.py" and any(STORES.match(name) for name in imports(path)):
            assert package_of(path) in ("catalog", "standalone", "local_qdrant"), path


def test_protobuf_types_stop_at_servicers_and_clients() -> None:
    for path in modules():
        if any("_pb2" in name for name in imports(path)) and package_of(path) in ("gateway", "trainer", "embedder"):
            at_the_edge = re.search(r"servicer|client|stream", path.stem) or path.parent.name == "upstreams"
            assert at_the_edge, path


def test_only_settings_read_the_environment() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if re.search(r"os\.environ|os\.getenv", text) and package_of(path) not in ("standalone", "local_qdrant"):
            assert path.name in ("config.py", "settings.py"), path


def test_no_module_has_a_meaningless_name() -> None:
    assert [path for path in modules() if path.stem in VAGUE] == []


def test_no_folder_holds_more_than_fifteen_modules() -> None:
    counted = [path for path in modules() if path.name not in ("__init__.py", "__main__.py")]
    counted += [path for top in ("tests", "bench", "demo", "deploy") for path in (ROOT / top).rglob("*.py")]
    folders = Counter(path.parent for path in counted)
    assert {name_of(folder): number for folder, number in folders.items() if number > MOST_MODULES} == {}
