"""The alert rules: valid, each with a test that it fires and one that it does not, and each explained to operators."""

import re
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml

from gateway.http.routes import api_routes
from servicekit.telemetry.metrics import LATENCY_BUCKETS
from tests.deploy.monitoring.metric_names import asked_for, declared
from tests.promtool import promtool

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "helm" / "similis" / "files" / "rules.yaml"
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOK = ROOT / "docs" / "operations.md"


def rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, str]]:
    return [rule for rule in rules() if "alert" in rule]


def run(*arguments: str) -> None:
    finished = subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def headings(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub and GitLab make them."""
    found = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    run("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_alerts_fire_when_they_should_and_only_then(case: Path) -> None:
    run("test", "rules", str(case))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires: set[str] = set()
    stays: set[str] = set()
    for case in CASES:
        for test in yaml.safe_load(case.read_text(encoding="utf-8"))["tests"]:
            for check in test["promql_expr_test"]:
                name = re.fullmatch(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}', check["expr"])
                assert name is not None, check
                (fires if check["exp_samples"] else stays).add(name[1])
    assert fires == stays == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_it_is_how_bad_it_is_and_what_to_do(alert: dict[str, dict[str, str]]) -> None:
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    document, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert ROOT / document == RUNBOOK
    assert anchor in headings(RUNBOOK.read_text(encoding="utf-8"))


def test_the_runbook_explains_no_alert_that_is_gone() -> None:
    explained = set(re.findall(r"^### (Similis\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE))
    assert explained == {alert["alert"] for alert in alerts()}


def test_rules_ask_for_series_that_are_there() -> None:
    known = declared() | {rule["record"] for rule in rules() if "record" in rule}
    asked = set().union(*(asked_for(rule["expr"]) for rule in rules()))
    assert len(asked) > 20
    assert asked - known == set()


def test_rules_name_routes_and_bounds_of_buckets_that_are_there() -> None:
    text = RULES.read_text(encoding="utf-8")
    paths = {route.path for route in api_routes(Mock(), request_seconds=1.0, upload_seconds=1.0)}
    assert set(re.findall(r'http_route="([^"]+)"', text)) == {"/api/collection/{id}/search"}
    assert "/api/collection/{id}/search" in paths
    assert {float(bound) for bound in re.findall(r'le="([^"]+)"', text)} <= set(LATENCY_BUCKETS)
