"""The Grafana dashboard: in step with the code that writes it, free of overlaps, and asking for what is there."""

import itertools
import json
import re
import subprocess
from pathlib import Path

import yaml

from deploy.grafana.dashboard import FILE, render
from deploy.grafana.panel import COLUMNS
from deploy.grafana.rows import ROWS
from tests.deploy.monitoring.metric_names import asked_for, declared
from tests.promtool import promtool


def dashboard() -> dict[str, list[dict[str, object]]]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def expressions() -> list[str]:
    """What Grafana asks Prometheus for, with its variables filled in."""
    found = [query.promql for row in ROWS for panel in row.panels for query in panel.queries]
    filled = {"$__rate_interval": "5m", "$namespace": ".*", "$release": ".*", "$job": ".*"}
    for variable, value in filled.items():
        found = [expression.replace(variable, value) for expression in found]
    return found


def test_the_committed_dashboard_is_what_the_code_writes() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run 'make dashboard'"


def test_panels_lie_side_by_side_inside_of_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_can_be_told_apart() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in panels]
    assert sorted(set(titles)) == sorted(titles)


def test_every_expression_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": text} for number, text in enumerate(expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_expression_is_limited_to_the_installation_that_is_looked_at() -> None:
    for expression in expressions():
        selectors = re.sub(r'"[^"]*"', "", expression).count("{")
        assert selectors == expression.count('namespace=~".*", release=~".*", job=~".*"}') > 0, expression


def test_the_dashboard_asks_for_series_that_are_there() -> None:
    asked = set().union(*(asked_for(expression) for expression in expressions()))
    assert len(asked) > 40
    assert asked - declared() == set()
