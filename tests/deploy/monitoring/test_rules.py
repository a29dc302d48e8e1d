"""The chart puts the alerts and the dashboard into the cluster, limited to the series of its release."""

import json
import re
import subprocess
from pathlib import Path

import yaml

from tests.deploy.chart import CHART, NAMESPACE, RELEASE, TOOLS, Rendered, loaded, rendered, template
from tests.deploy.monitoring.metric_names import OF_KUBE_STATE_METRICS, asked_for

PROMTOOL = TOOLS / "promtool" / "promtool"


def labels(release: str) -> str:
    """Return the labels of a release's series, as PromQL."""
    return f'namespace="{NAMESPACE}", release="{release}"'


OWN = labels(RELEASE)
# kube-state-metrics knows no releases.
OF_THE_CRON_JOB = f'namespace="{NAMESPACE}", cronjob="{RELEASE}-backup"'


def expressions(release: Rendered) -> list[str]:
    (rule,) = release.of("PrometheusRule")
    return [rule["expr"] for group in rule["spec"]["groups"] for rule in group["rules"]]


def tidy(expression: str) -> str:
    """Return an expression without differences in white space and empty selectors."""
    expression = expression.replace(OF_THE_CRON_JOB, 'cronjob="similis-backup"').replace("360000", "180000")
    return re.sub(r"\{[\s,]*", "{", " ".join(expression.split()))


def write_rules(folder: Path, release: str) -> Path:
    (rule,) = [item for item in loaded(template("full", release=release).stdout) if item["kind"] == "PrometheusRule"]
    path = folder / f"{release}.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    return path


def firing(alert: str, release: str) -> dict[str, object]:
    """Return promtool's check that an alert fires for this release only."""
    name = f'alertname="{alert}", alertstate="firing"'
    sample = {"labels": f'ALERTS{{{name}, {labels(release)}, severity="critical"}}', "value": 1}
    return {"expr": f"ALERTS{{{name}}}", "eval_time": "30m", "exp_samples": [sample]}


def jobs_query(release: str) -> str:
    """Return the query by which KEDA scales the trainers of a release."""
    (scaled,) = [
        item
        for item in loaded(template("full", release=release).stdout)
        if item["kind"] == "ScaledObject" and item["metadata"]["name"].endswith("trainer")
    ]
    (trigger,) = scaled["spec"]["triggers"]
    query: str = trigger["metadata"]["query"]
    return query


def test_promtool_accepts_the_rules_of_the_rendered_object(tmp_path: Path) -> None:
    (rule,) = rendered("full").of("PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    command = [str(PROMTOOL), "check", "rules", "--lint=all", "--lint-fatal"]
    done = subprocess.run([*command, str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_rules_are_those_of_the_file_limited_to_the_release() -> None:
    rules = expressions(rendered("full"))
    written = yaml.safe_load((CHART / "files" / "rules.yaml").read_text(encoding="utf-8"))
    assert [tidy(rule.replace(OWN, "").replace("{}", "")) for rule in rules] == [
        tidy(rule["expr"]) for group in written["groups"] for rule in group["rules"]
    ]


def test_no_rule_uses_series_of_another_release() -> None:
    for expression in expressions(rendered("full")):
        for name in asked_for(expression):
            asked = re.findall(rf"\b(?<!:){name}\b(?!:)(.*)", expression)
            assert asked, name
            own = OF_THE_CRON_JOB if name in OF_KUBE_STATE_METRICS else OWN
            assert all(rest.startswith(f"{{{own}") for rest in asked), expression


def test_releases_in_one_namespace_have_separate_alerts(tmp_path: Path) -> None:
    """One Prometheus watches both. Release "two" fails half of its searches, and no trainer takes its finetune."""
    search = 'http_route="/api/collection/{id}/search"'
    series = {
        f'http_server_request_duration_seconds_count{{%s, {search}, http_response_status_code="200"}}': (
            "0+60x60",
            "0+60x60",
        ),
        f'http_server_request_duration_seconds_count{{%s, {search}, http_response_status_code="500"}}': (
            "0x60",
            "0+60x60",
        ),
        'similis_jobs{%s, state="queued"}': ("0x60", "2x60"),
        'similis_jobs{%s, state="running"}': ("1x60", "0x60"),
        'similis_build_info{%s, service="gateway"}': ("_x60", "1x60"),
    }
    given = [
        {"series": name % labels(release), "values": values[number]}
        for number, release in enumerate(("one", "two"))
        for name, values in series.items()
    ]
    fires = [
        firing(alert, release)
        for alert, release in {
            "SimilisSearchErrorBudgetBurnsFast": "two",
            "SimilisQueueStalled": "two",
            "SimilisNotScraped": "one",
        }.items()
    ]
    scaled = [
        {"expr": jobs_query(release), "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": count}]}
        for release, count in {"one": 1, "two": 2}.items()
    ]
    case = {
        "rule_files": [write_rules(tmp_path, release).name for release in ("one", "two")],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": [*fires, *scaled]}],
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case), encoding="utf-8")
    command = [str(PROMTOOL), "test", "rules", str(tmp_path / "case.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_monitor_adds_the_label_that_distinguishes_releases() -> None:
    (monitor,) = rendered("full").of("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    # The Prometheus operator adds the namespace.
    assert {"targetLabel": "release", "replacement": RELEASE} in endpoint["relabelings"]


def test_runbook_urls_begin_with_the_configured_base() -> None:
    base = "https://git.example.org/similis/blob/main/"
    flags = ("--set", "metrics.prometheusRule.enabled=true", "--set", f"metrics.prometheusRule.runbookBase={base}")
    (rule,) = rendered("minimal", *flags).of("PrometheusRule")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"] if "alert" in alert]
    assert len(alerts) > 20
    for alert in alerts:
        anchor = alert["alert"].lower()
        assert alert["annotations"]["runbook_url"] == f"{base}docs/operations.md#{anchor}"


def test_an_alert_can_be_switched_off_or_get_other_labels() -> None:
    alerts = "metrics.prometheusRule.alerts"
    flags = (
        "--set",
        f"{alerts}.SimilisVersionSkew.enabled=false",
        "--set",
        f"{alerts}.SimilisNotScraped.labels.team=a",
    )
    before, after = (
        {
            rule["alert"]: rule
            for group in item.of("PrometheusRule")[0]["spec"]["groups"]
            for rule in group["rules"]
            if "alert" in rule
        }
        for item in (rendered("full"), rendered("full", *flags))
    )
    assert before.keys() - after.keys() == {"SimilisVersionSkew"}
    assert after["SimilisNotScraped"]["labels"] == {"severity": "critical", "team": "a"}


def test_old_backups_are_reported_if_the_chart_makes_backups() -> None:
    def found(*flags: str) -> list[str]:
        on = ("--set", "metrics.prometheusRule.enabled=true")
        return [text for text in expressions(rendered("minimal", *on, *flags)) if "kube_cronjob" in text]

    assert found() == []
    flags = ("backup.enabled=true", "backup.alertAfterHours=2", "fullnameOverride=coins")
    (expression,) = found(*(part for flag in flags for part in ("--set", flag)))
    assert f'kube_cronjob_created{{namespace="{NAMESPACE}", cronjob="coins-backup"}}' in expression
    assert expression.endswith("> 7200\n")


def test_operators_add_relabelings() -> None:
    rule = '[{"targetLabel": "cluster", "replacement": "a"}]'
    names = ("relabelings", "metricRelabelings")
    flags = [part for name in names for part in ("--set-json", f"metrics.serviceMonitor.{name}={rule}")]
    (endpoint,) = rendered("full", *flags).one("ServiceMonitor", "similis")["spec"]["endpoints"]
    assert [item["targetLabel"] for item in endpoint["relabelings"]] == ["release", "cluster"]
    assert [item["targetLabel"] for item in endpoint["metricRelabelings"]] == ["cluster"]


def test_the_dashboard_is_the_one_of_the_file() -> None:
    config = rendered("full").one("ConfigMap", "similis-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    written = json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
    assert json.loads(config["data"]["similis.json"]) == written


def test_trainers_are_scaled_by_a_metric_that_needs_no_trainer() -> None:
    scaled = rendered("full").one("ScaledObject", "similis-trainer")["spec"]
    assert scaled["minReplicaCount"] == 0
    (trigger,) = scaled["triggers"]
    assert f"similis_jobs{{{OWN}" in trigger["metadata"]["query"]
    # Without an answer the fallback applies.
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert scaled["fallback"]["replicas"] == 1
