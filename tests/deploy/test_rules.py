"""The alerts and the dashboard arrive in the cluster as they are in their files."""

import json
import subprocess
from pathlib import Path

import yaml

from tests.deploy.chart import CHART, TOOLS, rendered


def test_promtool_accepts_the_rules_of_the_rendered_object(tmp_path: Path) -> None:
    (rule,) = rendered("full").of("PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    command = [str(TOOLS / "promtool" / "promtool"), "check", "rules", "--lint=all", "--lint-fatal"]
    done = subprocess.run([*command, str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_rules_are_those_of_their_file() -> None:
    (rule,) = rendered("full").of("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "rules.yaml").read_text(encoding="utf-8"))


def test_runbooks_are_where_the_operator_has_them() -> None:
    base = "https://git.example.org/similis/blob/main/"
    flags = ("--set", "metrics.prometheusRule.enabled=true", "--set", f"metrics.prometheusRule.runbookBase={base}")
    (rule,) = rendered("minimal", *flags).of("PrometheusRule")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"] if "alert" in alert]
    assert len(alerts) > 20
    for alert in alerts:
        anchor = alert["alert"].lower()
        assert alert["annotations"]["runbook_url"] == f"{base}docs/operations.md#{anchor}"


def test_the_dashboard_is_that_of_its_file() -> None:
    config = rendered("full").one("ConfigMap", "similis-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    written = json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
    assert json.loads(config["data"]["similis.json"]) == written


def test_trainers_are_scaled_by_a_metric_that_needs_no_trainer() -> None:
    scaled = rendered("full").one("ScaledObject", "similis-trainer")["spec"]
    assert scaled["minReplicaCount"] == 0
    (trigger,) = scaled["triggers"]
    assert 'similis_jobs{namespace="images"' in trigger["metadata"]["query"]
