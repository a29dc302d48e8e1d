"""A chart of searches a second and of latencies, as SVG."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 760, 300
PANEL_WIDTH, PANEL_HEIGHT = 320, 200
BOTTOM = 240
COLOURS = {"bound": "#9aa0a6", "plain alternative": "#e8a33d", "Similis": "#2f7d6d"}
# Readable on white and on black.
TEXT = "#7a7f85"

# Of one panel: the height of each bar, by side and by the number of clients.
Bars = Mapping[str, Sequence[float]]


def chart(medians: Mapping[str, float], clients: Sequence[int]) -> str:
    """Return a picture of the medians of `bench/search/searches.py`."""
    rates = {
        "bound": [medians[f"bound_beside_{number}"] for number in clients],
        "plain alternative": [medians[f"plain_searches_{number}"] for number in clients],
        "Similis": [medians[f"similis_searches_{number}"] for number in clients],
    }
    latencies = {
        "plain alternative": [medians[f"plain_p99_{number}_ms"] for number in clients],
        "Similis": [medians[f"similis_p99_{number}_ms"] for number in clients],
    }
    parts = [
        _panel(40, "searches a second, by the number of clients", rates, clients),
        _panel(420, "99th percentile in ms, by the number of clients", latencies, clients),
        _legend(),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Searches a second and latencies" font-family="sans-serif" font-size="12" fill="{TEXT}">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(left: int, title: str, bars: Bars, clients: Sequence[int]) -> str:
    highest = max(max(values) for values in bars.values())
    group = PANEL_WIDTH / len(clients)
    width = group * 0.8 / len(bars)
    parts = [f'<text x="{left}" y="20" font-weight="bold">{title}</text>']
    for place, number in enumerate(clients):
        for order, (side, values) in enumerate(bars.items()):
            height = PANEL_HEIGHT * values[place] / highest
            x = left + place * group + order * width
            y = BOTTOM - height
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{height:.1f}" fill="{COLOURS[side]}"/>'
                f'<text x="{x + width / 2 - 1:.1f}" y="{y - 3:.1f}" text-anchor="middle" font-size="9">'
                f"{values[place]:.0f}</text>"
            )
        middle = left + place * group + group * 0.4
        parts.append(f'<text x="{middle:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{number}</text>')
    parts.append(f'<line x1="{left}" y1="{BOTTOM}" x2="{left + PANEL_WIDTH}" y2="{BOTTOM}" stroke="{TEXT}"/>')
    return "\n".join(parts)


def _legend() -> str:
    parts = []
    for place, (side, colour) in enumerate(COLOURS.items()):
        x = 40 + 140 * place
        parts.append(f'<rect x="{x}" y="276" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="286">{side}</text>')
    return "\n".join(parts)
