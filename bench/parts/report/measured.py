"""What one workload has measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.parts.report.chart import Chart
from bench.parts.report.figures import Figure


@dataclass
class Measured:
    """Figures in the order of the table, charts by the name of their file, and whatever else is worth keeping."""

    figures: list[Figure] = field(default_factory=list)
    charts: dict[str, Chart] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "figures": [figure.to_json() for figure in self.figures],
            "charts": {name: chart.to_json() for name, chart in self.charts.items()},
            "details": self.details,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Measured":
        """Return what a JSON object of `to_json` holds."""
        figures = [Figure.from_json(one) for one in found["figures"]]
        charts = {name: Chart.from_json(one) for name, one in found["charts"].items()}
        return cls(figures, charts, dict(found["details"]))
