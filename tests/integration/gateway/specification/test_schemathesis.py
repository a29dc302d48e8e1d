"""schemathesis calls every operation with valid and invalid data. No answer is a 5xx or outside the specification."""

import asyncio
import json
import os
import sys
from copy import deepcopy
from pathlib import Path

import pytest

from tests.integration.gateway.specification.conftest import Instance
from tests.specification import DOCUMENT, Node, follow, operations

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
SEED = "1"
EXAMPLES = "4"
# They are replaced by checks of HOOKS.
REPLACED_CHECKS = "positive_data_acceptance,negative_data_rejection"


async def test_no_answer_is_outside_the_specification(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(await _with_ids(instance)), encoding="utf-8")
    (tmp_path / "schemathesis.toml").write_text(f"hooks = {json.dumps(str(HOOKS))}\n", encoding="utf-8")
    # Python 3.11 fails now and then when two threads parse source code, as two workers do.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import schemathesis.cli; schemathesis.cli.schemathesis()"),
        *("run", "openapi.json", "--url", instance.api.url),
        *("--seed", SEED, "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--continue-on-failure"),
        *("--exclude-checks", REPLACED_CHECKS, "--generation-database", "none", "--workers", "1"),
        *("--header", f"API-Key: {instance.api.key}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*", "PYTHONPATH": ""},
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert f"Tested: {len(list(operations()))}" in output.decode(), output.decode()


async def _with_ids(instance: Instance) -> Node:
    """Return the specification with the ids of this instance, without which most requests would find no collection."""
    document = deepcopy(DOCUMENT)
    doomed = await instance.api.create("to be deleted")
    listed = (await instance.api.get(f"/api/collection/{instance.collection}/images")).json["images"]
    image = listed[0]["image_id"]
    for methods in document["paths"].values():
        for operation in methods.values():
            ids = {"id": instance.collection, "index_id": instance.index, "image_id": image}
            if operation["operationId"] == "deleteCollection":
                ids["id"] = doomed
            parameters = [_fixed(follow(parameter), ids) for parameter in operation.get("parameters", [])]
            operation["parameters"] = parameters
    return document


def _fixed(parameter: Node, ids: dict[str, int]) -> Node:
    """Return a parameter with only one valid value, if it is an id in the path."""
    if parameter["in"] != "path":
        return parameter
    return {
        "name": parameter["name"],
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "enum": [ids[parameter["name"]]]},
    }
