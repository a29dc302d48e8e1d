"""checkov finds nothing but what is listed with its reason."""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart import MATRIX, TOOLS, template

EXCEPTIONS = yaml.safe_load((Path(__file__).parent / "checkov_exceptions.yaml").read_text(encoding="utf-8"))
# Containers and objects of the operator's, which the full values name, are not ours to judge.
OURS = [
    part
    for name in ("gateway.extraContainers", "gateway.extraInitContainers", "gateway.extraEnvFrom", "extraObjects")
    for part in ("--set-json", f"{name}=[]")
]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Check and resource of each failed check, over the whole matrix."""
    return _findings(tmp_path_factory.mktemp("rendered"))


@cache
def _findings(folder: Path) -> set[tuple[str, str]]:
    for name in MATRIX:
        done = template(name, *OURS)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.yaml").write_text(done.stdout, encoding="utf-8")
    command = [str(TOOLS / "checkov" / "bin" / "checkov"), "--framework", "kubernetes", "--skip-download", "--quiet"]
    done = subprocess.run(
        [*command, "--compact", "--output", "json", "--directory", str(folder)],
        env={**os.environ, "HOME": str(folder), "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    return {(item["check_id"], item["resource"]) for item in report["results"]["failed_checks"]}


def test_nothing_is_found_that_is_not_listed(findings: set[tuple[str, str]]) -> None:
    unlisted = [
        finding for finding in sorted(findings) if not any(_covers(exception, finding) for exception in EXCEPTIONS)
    ]
    assert unlisted == []


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: exception["check"])
def test_every_exception_is_needed_and_has_a_reason(exception: dict[str, str], findings: set[tuple[str, str]]) -> None:
    assert any(_covers(exception, finding) for finding in findings)
    assert exception["reason"].endswith(".")


def _covers(exception: dict[str, str], finding: tuple[str, str]) -> bool:
    check, resource = finding
    return exception["check"] == check and re.fullmatch(exception["resources"], resource) is not None
