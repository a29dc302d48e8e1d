"""Tables of figures: for a terminal, and as Markdown for a document."""

from collections.abc import Mapping, Sequence

from bench.parts.report.chart import shown
from bench.parts.report.figures import Bar, Figure

HEADINGS = ("", "median", "lowest to highest", "beside", "ratio", "bar", "")
BEGIN = "<!-- figures: written by bench/performance.py -->"
END = "<!-- end of figures -->"


def cells(figure: Figure) -> tuple[str, ...]:
    """Return the cells of a figure's row."""
    unit = f" {figure.unit}" if figure.unit else ""
    spread = "" if figure.lowest == figure.highest else f"{shown(figure.lowest)} to {shown(figure.highest)}"
    reference, ratio = figure.reference, figure.ratio
    return (
        figure.name,
        shown(figure.value) + unit,
        spread,
        f"{reference.name} {shown(reference.value)}" if reference else "",
        "" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}",
        bar_in_words(figure.bar, figure.unit),
        {True: "ok", False: "MISSED", None: ""}[figure.verdict],
    )


def bar_in_words(bar: Bar | None, unit: str) -> str:
    """Return what a bar demands, or "" if there is none."""
    if bar is None:
        return ""
    kind = "at least" if bar.at_least else "at most"
    return f"{kind} {bar.limit:g}" + (" of it" if bar.of_reference else f" {unit}" if unit else "")


def text_table(workloads: Mapping[str, Sequence[Figure]]) -> str:
    """Return the figures of all workloads as columns of text."""
    rows = [HEADINGS, *(cells(figure) for figures in workloads.values() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(HEADINGS, widths)]
    for workload, figures in workloads.items():
        lines += ["", workload, *(_line(cells(figure), widths) for figure in figures)]
    return "\n".join(lines)


def markdown_table(workload: str, figures: Sequence[Figure]) -> str:
    """Return the figures of a workload as a table of Markdown, under its name."""
    rows = ["|".join(("", *row, "")) for row in (HEADINGS, ["---"] * len(HEADINGS), *map(cells, figures))]
    return "\n".join([f"**{workload}**", "", *rows])


def with_figures(document: str, block: str) -> str:
    """Return a document with another block between its marks. Raises ValueError if it does not have both marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs a line {BEGIN!r} and, below it, a line {END!r}")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def missed(workloads: Mapping[str, Sequence[Figure]]) -> list[str]:
    """Return the names of the figures that do not clear their bars, with their workloads."""
    return [
        f"{workload}: {figure.name}"
        for workload, figures in workloads.items()
        for figure in figures
        if figure.verdict is False
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *others = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([f"  {name}", *others]).rstrip()
