"""Write the Grafana dashboard: `python -m deploy.grafana.dashboard`, or `make dashboard`."""

import json
from pathlib import Path

from deploy.grafana.panel import DATASOURCE, Json, placed
from deploy.grafana.rows import ROWS

FILE = Path(__file__).parents[1] / "helm" / "similis" / "files" / "dashboard.json"


def dashboard() -> Json:
    """Return the dashboard as Grafana (10 and newer) imports it."""
    return {
        "uid": "similis",
        "title": "Similis",
        "description": "Image similarity search: searches, finetunes and the services behind them.",
        "tags": ["similis"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                _datasource(),
                _label("namespace"),
                _label("release", 'namespace=~"$namespace"'),
                _label("job", 'namespace=~"$namespace", release=~"$release"'),
            ]
        },
        "annotations": {"list": []},
        "panels": placed(ROWS),
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _label(name: str, selector: str = "") -> Json:
    query = f"label_values(similis_build_info{{{selector}}}, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Also matches series without the label: outside Kubernetes there is no namespace and no release.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def render() -> str:
    """Return the content of the dashboard's file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
