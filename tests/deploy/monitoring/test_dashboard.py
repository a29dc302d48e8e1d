"""The Grafana dashboard is in step with its code, has no overlaps and uses only series that exist."""

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from deploy.grafana.dashboard import FILE, render
from deploy.grafana.panel import COLUMNS, Query
from deploy.grafana.rows import ROWS
from tests.deploy.monitoring.metric_names import asked_for, declared
from tests.promtool import promtool


def panels() -> list[dict[str, Any]]:
    """Return the panels of the committed dashboard."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    """Return the queries that Grafana sends to Prometheus while everything is selected."""
    return [filled(query) for row in ROWS for panel in row.panels for query in panel.queries]


def filled(query: Query) -> str:
    """Return the expression of a query with its variables filled in."""
    expression = query.promql
    for variable, value in {"$__rate_interval": "5m", "$namespace": ".*", "$release": ".*", "$job": ".*"}.items():
        expression = expression.replace(variable, value)
    return expression


def test_the_committed_dashboard_is_the_one_that_the_code_writes() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run 'make dashboard'"


def test_panels_do_not_overlap_or_leave_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_have_different_ids_and_titles() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    titles = [panel["title"] for panel in panels()]
    assert sorted(set(titles)) == sorted(titles)


def test_every_expression_is_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": text} for number, text in enumerate(expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_expression_is_limited_to_the_selected_installation() -> None:
    for expression in expressions():
        selectors = re.sub(r'"[^"]*"', "", expression).count("{")
        assert selectors == expression.count('namespace=~".*", release=~".*", job=~".*"}') > 0, expression


def test_panels_about_processes_show_no_other_programs(tmp_path: Path) -> None:
    """Every program with a Prometheus client exports these metrics."""
    (row,) = (row for row in ROWS if row.title == "Processes")
    queries = [query for panel in row.panels for query in panel.queries if "process_" in query.expression]
    assert len(queries) == 4
    series = [
        {"series": f'{name}{{job="{job}", instance="a:1"}}', "values": "1+60x60"}
        for name in sorted({name for query in queries for name in asked_for(query.promql) if "process_" in name})
        for job in ("gateway", "node-exporter")
    ]
    series.append({"series": 'similis_build_info{job="gateway", instance="a:1"}', "values": "1x60"})
    checks = [
        {
            "expr": f"count by (job) ({filled(query)}) * 0",
            "eval_time": "30m",
            "exp_samples": [{"labels": '{job="gateway"}', "value": 0}],
        }
        for query in queries
    ]
    case = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": checks}]}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case), encoding="utf-8")
    command = [promtool(), "test", "rules", str(tmp_path / "case.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_uses_only_series_that_exist() -> None:
    asked = set().union(*(asked_for(expression) for expression in expressions()))
    assert len(asked) > 40
    assert asked - declared() == set()
