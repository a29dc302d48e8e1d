"""Bar charts, as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 760, 300
PANEL_HEIGHT, BOTTOM = 200, 240
MARGIN, GAP = 40, 60
MOST_LEGEND_STEP = 140
# In the order of the series.
COLOURS = ("#2f7d6d", "#e8a33d", "#9aa0a6", "#6b7fb8", "#b85c5c", "#8a6fb0")
# Readable on white and on black.
TEXT = "#7a7f85"


@dataclass(frozen=True)
class Panel:
    """Groups of bars, one for each category. bars: their heights by series, in the order of the categories."""

    title: str
    categories: Sequence[str]
    bars: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Chart:
    """Panels beside each other, with one legend. label: what screen readers say."""

    label: str
    panels: Sequence[Panel]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Chart":
        """Return the chart of a JSON object."""
        return cls(found["label"], [Panel(**panel) for panel in found["panels"]])

    @property
    def series(self) -> list[str]:
        """The names of all series, in the order in which panels first name them."""
        return list(dict.fromkeys(name for panel in self.panels for name in panel.bars))

    def svg(self) -> str:
        """Return the picture."""
        colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(self.series)}
        width = (WIDTH - 2 * MARGIN - GAP * (len(self.panels) - 1)) / len(self.panels)
        drawn = [
            _panel(panel, MARGIN + place * (width + GAP), width, colours) for place, panel in enumerate(self.panels)
        ]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(self.label)}" font-family="sans-serif" font-size="12" fill="{TEXT}">\n'
            + "\n".join([*drawn, _legend(colours)])
            + "\n</svg>\n"
        )


def shown(value: float) -> str:
    """Return a number with about three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _panel(panel: Panel, left: float, panel_width: float, colours: Mapping[str, str]) -> str:
    highest = max((max(values) for values in panel.bars.values()), default=0.0) or 1.0
    group = panel_width / len(panel.categories)
    width = group * 0.8 / len(panel.bars)
    parts = [f'<text x="{left:.0f}" y="20" font-weight="bold">{escape(panel.title)}</text>']
    for place, category in enumerate(panel.categories):
        for order, (name, values) in enumerate(panel.bars.items()):
            height = PANEL_HEIGHT * values[place] / highest
            x, y = left + place * group + order * width, BOTTOM - height
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 2, 1):.1f}" height="{height:.1f}" '
                f'fill="{colours[name]}"/>'
                f'<text x="{x + width / 2 - 1:.1f}" y="{y - 3:.1f}" text-anchor="middle" font-size="9">'
                f"{shown(values[place])}</text>"
            )
        middle = left + place * group + group * 0.4
        parts.append(f'<text x="{middle:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{escape(category)}</text>')
    right = left + panel_width
    parts.append(f'<line x1="{left:.0f}" y1="{BOTTOM}" x2="{right:.0f}" y2="{BOTTOM}" stroke="{TEXT}"/>')
    return "\n".join(parts)


def _legend(colours: Mapping[str, str]) -> str:
    parts = []
    step = min(MOST_LEGEND_STEP, (WIDTH - 2 * MARGIN) // max(1, len(colours)))
    for place, (name, colour) in enumerate(colours.items()):
        x = MARGIN + step * place
        parts.append(f'<rect x="{x}" y="276" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="286">{escape(name)}</text>')
    return "\n".join(parts)
