"""What the workloads conclude from what they have measured."""

from pathlib import Path

import pytest

from bench.parts.instance.finetunes import PhaseLog, csv_of
from bench.parts.report.figures import Figure
from bench.parts.report.table import BEGIN, END
from bench.parts.rounds import Rounds
from bench.parts.search.requests import in_turns
from bench.performance import WORKLOADS, chosen, parse, require_marks
from bench.workloads import beside_finetune, indexing, memory, searches, uploads
from bench.workloads.indexing import Run, Size, replaced
from bench.workloads.options import FULL, QUICK


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {one.name: one for one in figures}


def test_learning_does_not_count_as_indexing() -> None:
    phases = {"fetching": 80.0, "first_index": 10.0, "views": 40.0, "fitting": 50.0, "checking": 10.0, "indexing": 10.0}
    full = Run(10_000, seconds=200.0, searchable=92.0, phases=phases)
    size = Size(full, Run(10_000, seconds=11.0), Run(10_000, seconds=5.0), bound=120.0, host_cpu=5.0)
    found = by_name(list(indexing.figures(size)))
    indexed = found["10,000 images, indexed"]
    assert indexed.value == 100.0
    assert indexed.ratio == pytest.approx(100 / 120)
    assert indexed.verdict is False
    assert found["10,000 images, 1 % changed"].ratio == pytest.approx(0.055)
    assert found["10,000 images, 1 % changed"].verdict is False
    assert found["10,000 images, nothing changed"].verdict is True
    assert found["10,000 images, CPU of the image host for each"].value == 0.5


def test_small_collections_have_no_bars() -> None:
    run = Run(1_000, seconds=20.0, searchable=10.0)
    figures = list(indexing.figures(Size(run, run, run, bound=120.0, host_cpu=1.0)))
    assert {one.verdict for one in figures} == {None}


def test_changed_images_are_spread_over_the_collection() -> None:
    urls = [str(number) for number in range(303)]
    changed = replaced(urls, 300)
    assert [place for place in range(300) if changed[place] != urls[place]] == [0, 100, 200]
    assert {changed[0], changed[100], changed[200]} == {"300", "301", "302"}


def test_a_row_keeps_its_object_when_others_change() -> None:
    assert csv_of(["http://127.0.0.1:1/7.jpg"]) == "http://127.0.0.1:1/7.jpg,https://repo.example.org/7.jpg\n"


def test_the_slowest_searches_during_a_finetune_are_compared_with_those_around_it() -> None:
    times = {"idle": [20.0] * 200, "fetching": [29.0] * 150, "fitting": [31.0] * 150, "publishing": [900.0]}
    found = by_name(list(beside_finetune.figures(times, 3_000)))
    during = found["p99 while 3,000 images are finetuned"]
    assert (during.value, during.ratio, during.verdict) == (31.0, 1.55, False)
    assert found["p50 while 3,000 images are finetuned"].verdict is None
    assert found["p99, fetching"].ratio == 1.45
    # One search is no percentile.
    assert "p99, publishing" not in found


def test_the_bar_of_memory_grows_with_the_images() -> None:
    sizes = memory.Sizes(1_010_000, new={"gateway": 300.0, "trainer": 100.0}, idle={"all": 1_899.0})
    sizes.searched = {"all": 1_920.0}
    rounds = Rounds()
    for name, value in {"image large": 25.0, "image usual": 21.0, "id large": 3.0, "id usual": 2.0}.items():
        rounds.add(name, value)
        rounds.add(f"{name} p99", 2 * value)
    found = by_name(list(memory.figures(sizes, rounds, 1_000_000)))
    assert found["1,010,000 images, idle"].verdict is True
    assert found["1,010,000 images, searched"].verdict is False
    assert found["for each of 1,010,000 images, idle"].value == pytest.approx(1499 / 1010)
    assert found["p50, 1,000,000 over 10,000 images, by an image"].verdict is False
    assert found["p50, 1,000,000 over 10,000 images, by id"].verdict is True


def test_an_upload_has_bars_for_time_memory_and_stalls() -> None:
    upload = uploads.Upload("CSV", 105.0, seconds=14.0, peaks={"gateway": 151.0, "all": 700.0})
    upload.healthz, upload.lists = [1.0, 99.0], [200.0]
    found = by_name(list(uploads.figures([upload], 1_000_000)))
    assert [name for name, one in found.items() if one.verdict] == [
        "1,000,000 rows, CSV",
        "1,000,000 rows, CSV: slowest /healthz",
    ]
    assert found["1,000,000 rows, CSV: gateway, peak"].verdict is False


def test_the_second_upload_has_one_row_more() -> None:
    first, second = uploads.bodies(uploads.content(3), "CSV")
    assert (first[0], first[1].count(b"\n"), second[1].count(b"\n")) == ("CSV", 3, 4)


def test_searches_have_the_bars_of_searches_only() -> None:
    rounds = Rounds()
    for clients in (1, 4):
        for name, value in {"bound": 100.0, "plain": 90.0, "similis": 85.0}.items():
            rounds.add(f"json {clients} {name}", value)
            for share, taken in ((50, 20.0), (99, 30.0)):
                rounds.add(f"json {clients} {name} p{share}", taken + (value == 85.0))
        rounds.add(f"json {clients} cpu", 15.0)
    figures = searches.figures(rounds, (1, 4), every_kind=False)
    verdicts = [(one.name, one.reference.name if one.reference else "", one.verdict) for one in figures]
    assert [one for one in verdicts if one[2] is not None] == [
        ("p50 over plain, 1 client", "", True),
        ("searches, 4 clients", "bound", True),
        ("searches, 4 clients", "plain", False),
        ("p99, 4 clients", "p50", True),
    ]
    assert searches.chart(rounds, (1, 4)).panels[0].bars["Similis"] == [85.0, 85.0]


def test_each_image_is_searched_in_each_collection_and_neighbours_differ() -> None:
    requests = in_turns("host", [3, 5], [b"a", b"b"])
    assert len(set(requests)) == 4
    assert [b"/collection/3/" in request for request in requests] == [True, False, False, True]


def test_phases_are_read_from_the_log_from_now_on(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "trainer.log"
    file.parent.mkdir()
    line = '{"event": "phase_done", "phase": "%s", "seconds": %s}\n'
    file.write_text(line % ("fetching", 9))
    log = PhaseLog(tmp_path)
    with file.open("a") as file_:
        file_.write(
            line % ("fetching", 1.5) + '{"event": "other"}\n' + line % ("fitting", 2) + '{"event": "phase_done"'
        )
    assert log.seconds() == {"fetching": 1.5, "fitting": 2.0}
    assert log.seconds() == {}


def test_options_replace_the_sizes_of_a_preset() -> None:
    assert chosen(parse([])).images == FULL.images
    options = chosen(parse(["--quick", "--images", "5", "7", "--rows", "9", "--clients", "2"]))
    assert (options.images, options.rows, options.clients, options.rounds) == ((5, 7), 9, (2,), QUICK.rounds)
    assert parse(["--only", "starts"]).only == ["starts"]
    assert parse([]).only == list(WORKLOADS)


@pytest.mark.parametrize("wrong", [["--rows", "0"], ["--images", "10", "-1"], ["--photographs", "/nowhere"]])
def test_options_that_make_no_sense_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match=wrong[0]):
        chosen(parse(wrong))


def test_an_unknown_workload_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "everything"])
    assert "searches" in capsys.readouterr().err


def test_a_document_without_marks_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    with pytest.raises(SystemExit, match=r"--document: .*No such file"):
        require_marks(document)
    document.write_text("# Performance\n")
    with pytest.raises(SystemExit, match="the document needs a line"):
        require_marks(document)
    document.write_text(f"{BEGIN}\n{END}\n")
    require_marks(document)
