"""The alert rules: each is valid, fires when it should, stays silent otherwise, and has a section in the runbook."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any
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


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


def run(*arguments: str) -> None:
    # Its garbage collector would take a third of the time.
    environment = {**os.environ, "GOGC": "1000"}
    finished = subprocess.run([promtool(), *arguments], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def headings(document: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and GitLab create them."""
    found = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def test_promtool_accepts_the_rules() -> None:
    run("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_alerts_fire_when_they_should_and_only_then(case: Path) -> None:
    run("test", "rules", str(case))


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for case in CASES:
        for test in yaml.safe_load(case.read_text(encoding="utf-8"))["tests"]:
            for check in test["promql_expr_test"]:
                name = re.fullmatch(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}', check["expr"])
                assert name is not None, check
                (fires if check["exp_samples"] else silent).add(name[1])
    assert fires == silent == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_has_a_severity_a_description_and_a_section_in_the_runbook(alert: dict[str, Any]) -> None:
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    document, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert ROOT / document == RUNBOOK
    assert anchor in headings(RUNBOOK.read_text(encoding="utf-8"))


def test_annotations_use_only_labels_that_the_alert_has() -> None:
    labels: dict[str, set[str]] = {}
    for case in CASES:
        for test in yaml.safe_load(case.read_text(encoding="utf-8"))["tests"]:
            for sample in (sample for check in test["promql_expr_test"] for sample in check["exp_samples"]):
                found = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                labels.setdefault(found["alertname"], set()).update(found)
    for alert in ALERTS:
        used = re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values()))
        assert set(used) <= labels[alert["alert"]], alert["alert"]


def test_the_runbook_explains_exactly_the_existing_alerts() -> None:
    explained = set(re.findall(r"^### (Similis\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE))
    assert explained == {alert["alert"] for alert in ALERTS}


def test_rules_use_only_series_that_exist() -> None:
    known = declared() | {rule["record"] for rule in rules() if "record" in rule}
    asked = set().union(*(asked_for(rule["expr"]) for rule in rules()))
    assert len(asked) > 20
    assert asked - known == set()


def test_rules_use_only_routes_and_buckets_that_exist() -> None:
    text = RULES.read_text(encoding="utf-8")
    paths = {route.path for route in api_routes(Mock(), request_seconds=1.0, upload_seconds=1.0)}
    assert set(re.findall(r'http_route="([^"]+)"', text)) == {"/api/collection/{id}/search"}
    assert "/api/collection/{id}/search" in paths
    assert {float(bound) for bound in re.findall(r'le="([^"]+)"', text)} <= set(LATENCY_BUCKETS)
