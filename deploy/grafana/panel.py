"""Panels and rows of a Grafana dashboard, and their JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Json = dict[str, object]

# A dashboard is 24 columns wide.
COLUMNS = 24
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
# Replaces "*" between the braces of a selector: the selected installation.
SELECTED = 'namespace=~"$namespace", release=~"$release", job=~"$job"'


@dataclass(frozen=True)
class Query:
    """A PromQL expression, in which `{*}` and `{…, *}` select the installation.

    legend: the legend of each series, with {{label}}s.
    """

    expression: str
    legend: str = ""

    @property
    def promql(self) -> str:
        """The expression with the variables that Grafana fills in."""
        return self.expression.replace("*}", f"{SELECTED}}}")


@dataclass(frozen=True)
class Panel:
    """One panel.

    unit: Grafana's name of the unit. width, height: in units of Grafana's grid. worry, alarm: thresholds for yellow and
    red, in the panel's unit. The panel changes above them, or below them if `falling`.
    """

    title: str
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    description: str = ""
    unit: str = "short"
    width: int = 8
    height: int = 8
    stacked: bool = False
    worry: float | None = None
    alarm: float | None = None
    falling: bool = False

    def to_json(self, number: int, x: int, y: int) -> Json:
        """Return the panel with its id and position."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(query, place) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _target(self, query: Query, place: int) -> Json:
        return {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": query.promql,
            "legendFormat": query.legend,
            "instant": self.kind == "table",
            "range": self.kind != "table",
            "format": "table" if self.kind == "table" else "time_series",
        }

    def _defaults(self) -> Json:
        defaults: Json = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": self._steps()}}
        if self.kind == "timeseries":
            defaults["min"] = 0
            defaults["custom"] = {
                "fillOpacity": 30 if self.stacked else 0,
                "lineWidth": 1,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "off" if self.worry is None and self.alarm is None else "dashed"},
            }
        return defaults

    def _steps(self) -> list[Json]:
        """Return Grafana's thresholds: a colour applies from its value upwards, the first one below all values."""
        colours = [("green", None), ("yellow", self.worry), ("red", self.alarm)]
        if self.falling:
            colours = [("red", None), ("yellow", self.alarm), ("green", self.worry)]
            if self.worry is None:
                colours = [("red", None), ("green", self.alarm)]
        (lowest, _), *others = colours
        above: list[Json] = [{"color": colour, "value": value} for colour, value in others if value is not None]
        return [{"color": lowest, "value": None}, *above]

    def _options(self) -> Json:
        if self.kind == "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
        if self.kind == "table":
            return {"showHeader": True}
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


@dataclass(frozen=True)
class Row:
    """Panels under a heading, from left to right. A panel that does not fit starts a new line."""

    title: str
    panels: Sequence[Panel]


def placed(rows: Sequence[Row]) -> list[Json]:
    """Return the panels of all rows from top to bottom, each with its id and position."""
    found: list[Json] = []
    y = 0
    for row in rows:
        heading = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": heading,
            }
        )
        y += 1
        x = line = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            found.append(panel.to_json(len(found) + 1, x, y))
            x += panel.width
            line = max(line, panel.height)
        y += line
    return found
