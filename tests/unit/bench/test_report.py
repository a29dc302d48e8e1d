"""Figures, bars, tables and records of the benchmarks."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.parts.report.chart import Chart, Panel
from bench.parts.report.figures import Figure, Reference, at_least, at_most, compared, figure
from bench.parts.report.measured import Measured
from bench.parts.report.record import Record
from bench.parts.report.table import BEGIN, END, cells, markdown_table, missed, text_table, with_figures
from bench.performance import markdown

BOUND = Reference("bound", 100.0)


@pytest.mark.parametrize(
    ("value", "bar", "verdict"),
    [(5.0, at_most(5.0), True), (5.1, at_most(5.0), False), (2.0, at_least(2.0), True), (1.9, at_least(2.0), False)],
)
def test_a_bar_is_cleared_at_its_limit(value: float, bar: object, verdict: bool) -> None:
    assert figure("start", value, "s", bar=bar).verdict is verdict  # type: ignore[arg-type]


def test_a_bar_of_the_reference_compares_the_ratio() -> None:
    wanted = at_least(0.85, of_reference=True)
    assert figure("indexed", 86.0, "/s", reference=BOUND, bar=wanted).verdict is True
    assert figure("indexed", 84.0, "/s", reference=BOUND, bar=wanted).verdict is False
    # Nothing to compare with: the bar cannot be cleared.
    assert figure("indexed", 84.0, "/s", bar=wanted).verdict is False
    assert figure("indexed", 84.0, "/s", reference=BOUND).verdict is None


def test_ratios_are_those_of_the_rounds_because_the_machine_may_be_slower_in_some() -> None:
    found = compared("searches", [10.0, 90.0, 80.0], "/s", "bound", [20.0, 100.0, 200.0])
    assert (found.value, found.lowest, found.highest) == (80.0, 10.0, 90.0)
    assert found.reference == Reference("bound", 100.0)
    assert found.ratio == 0.5


def test_a_row_has_the_figure_beside_its_reference_and_its_bar() -> None:
    bar = at_least(0.8, of_reference=True)
    found = compared("searches, 4 clients", [88.0, 92.0, 90.0], "/s", "bound", [120.0, 118.0, 116.0], bar)
    assert cells(found) == (
        "searches, 4 clients",
        "90 /s",
        "88 to 92",
        "bound 118",
        "0.78",
        "at least 0.8 of it",
        "MISSED",
    )
    assert cells(figure("warm", 1234.5, "ms", bar=at_most(2000))) == (
        *("warm", "1,234 ms", "", "", "", "at most 2000 ms", "ok"),
    )


def test_the_text_table_is_in_columns() -> None:
    lines = text_table({"starts": [figure("cold", 12.0, "s"), figure("warm", 4.0, "s", bar=at_most(5.0))]}).splitlines()
    assert lines[2] == "starts"
    assert lines[3].split() == ["cold", "12", "s"]
    assert lines[4].split() == ["warm", "4", "s", "at", "most", "5", "s", "ok"]
    assert lines[4].index("4 s") == lines[3].index("12 s") + 1


def test_the_tables_of_a_document_are_replaced_between_their_marks() -> None:
    table = markdown_table("starts", [figure("cold", 12.0, "s")])
    assert table.splitlines() == [
        "**starts**",
        "",
        "||median|lowest to highest|beside|ratio|bar||",
        "|---|---|---|---|---|---|---|",
        "|cold|12 s||||||",
    ]
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = with_figures(document, table)
    assert once == f"before\n{BEGIN}\n\n{table}\n\n{END}\nafter\n"
    assert with_figures(once, table) == once
    with pytest.raises(ValueError, match="the document needs a line"):
        with_figures(f"{END}\n{BEGIN}", table)


def test_a_document_shows_the_charts_beside_their_tables() -> None:
    chart = Chart("Starts", [Panel("seconds", ["cold"], {"similis": [12.0]})])
    found = markdown({"starts": Measured([figure("cold", 12.0, "s")], {"start-times": chart})}, "performance")
    assert found.splitlines()[-1] == "![Starts](performance/start-times.svg)"


def test_missed_bars_are_named_with_their_workload() -> None:
    figures = [figure("cold", 12.0, "s"), figure("warm", 6.0, "s", bar=at_most(5.0))]
    assert missed({"starts": figures}) == ["starts: warm"]


def test_a_record_keeps_the_newest_run_of_each_workload(tmp_path: Path) -> None:
    file = tmp_path / "new" / "performance.json"
    chart = Chart("Starts", [Panel("seconds", ["cold", "warm"], {"similis": [12.0, 4.0]})])
    warm = figure("warm", [4.0, 5.0], "s", reference=BOUND, bar=at_most(5.0))
    Record(file).add("starts", Measured([warm], {"starts": chart}), {"cores": 2})
    Record(file).add("memory", Measured([figure("idle", 700.0, "MB")]), {})
    Record(file).add("memory", Measured([figure("idle", 800.0, "MB")]), {})
    found = dict(Record(file).measured())
    assert found["starts"].figures == [warm]
    assert found["starts"].charts["starts"].svg() == chart.svg()
    assert [one.value for one in found["memory"].figures] == [800.0]
    stored = json.loads(file.read_text())
    assert stored["starts"]["cores"] == 2
    assert stored["starts"]["figures"][0]["verdict"] is True


@pytest.mark.parametrize("content", ["[]x", "[1]", '{"starts": 1}', '{"starts": {"figures": [{}]}}'])
def test_a_file_of_something_else_is_not_overwritten(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(SystemExit, match="was not written by this program"):
        Record(file)
    assert file.read_text() == content


def test_the_highest_bar_of_a_chart_fills_its_panel() -> None:
    chart = Chart("Rates & more", [Panel("a second", ["1", "4"], {"bound": [50.0, 200.0], "Similis": [25.0, 100.0]})])
    picture = ElementTree.fromstring(chart.svg())  # noqa: S314 (our own)
    bars = [float(one.attrib["height"]) for one in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars[:4] == [50.0, 25.0, 200.0, 100.0]
    assert picture.attrib["aria-label"] == "Rates & more"


def test_the_legend_of_six_series_is_inside_the_picture() -> None:
    series = {f"series {number}": [1.0] for number in range(6)}
    picture = ElementTree.fromstring(Chart("many", [Panel("a second", ["1"], series)]).svg())  # noqa: S314 (our own)
    width = float(picture.attrib["viewBox"].split()[2])
    begins = [
        float(one.attrib["x"])
        for one in picture.iter("{http://www.w3.org/2000/svg}text")
        if (one.text or "").startswith("series")
    ]
    assert len(begins) == 6
    assert max(begins) < width - 100


def test_a_chart_of_nothing_but_zeros_is_drawn() -> None:
    assert 'height="0.0"' in Chart("none", [Panel("none", ["a"], {"b": [0.0]})]).svg()


def test_figures_survive_json() -> None:
    for one in (figure("a", 1, "s"), compared("b", [1.0], "s", "bound", [2.0], at_most(1, of_reference=True))):
        assert Figure.from_json(json.loads(json.dumps(one.to_json()))) == one
