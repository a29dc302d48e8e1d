"""checkov reports only the findings that are listed with a reason."""

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
# The operator's own containers and objects, which the full values name, are not part of the check.
WITHOUT_OPERATORS_OBJECTS = [
    part
    for name in ("gateway.extraContainers", "gateway.extraInitContainers", "gateway.extraEnvFrom", "extraObjects")
    for part in ("--set-json", f"{name}=[]")
]
# The example for OpenShift removes user ids, which OpenShift sets instead.
CHECKED = [name for name in MATRIX if name != "openshift"]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """The check and the resource of each failed check, over all sets of values."""
    return _findings(tmp_path_factory.mktemp("rendered"))


@cache
def _findings(folder: Path) -> set[tuple[str, str]]:
    for name in CHECKED:
        done = template(name, *WITHOUT_OPERATORS_OBJECTS)
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


def test_no_finding_is_unlisted(findings: set[tuple[str, str]]) -> None:
    unlisted = [
        finding for finding in sorted(findings) if not any(_covers(exception, finding) for exception in EXCEPTIONS)
    ]
    assert unlisted == []


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=[exception["check"] for exception in EXCEPTIONS])
def test_every_exception_is_needed_and_has_a_reason(exception: dict[str, str], findings: set[tuple[str, str]]) -> None:
    assert any(_covers(exception, finding) for finding in findings)
    assert exception["reason"].endswith(".")


def _covers(exception: dict[str, str], finding: tuple[str, str]) -> bool:
    check, resource = finding
    return exception["check"] == check and re.fullmatch(exception["resources"], resource) is not None
