"""What a child writes is kept within bounds, and its last words are found."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from standalone.process import child_log
from standalone.process.child_log import ChildLog


def test_lines_reach_the_file_whole_whatever_the_pieces(tmp_path: Path) -> None:
    log = ChildLog("child", tmp_path)
    for piece in (b"one\ntw", b"o\n", b"", b"thr", b"ee"):
        log.feed(piece)
    log.end()
    assert (tmp_path / "child.log").read_text() == "one\ntwo\nthree\n"


def test_a_line_without_end_is_not_collected_for_ever(tmp_path: Path) -> None:
    log = ChildLog("child", tmp_path)
    for _ in range(64):
        log.feed(b"x" * 65536)
    log.end()
    assert max(len(line) for line in (tmp_path / "child.log").read_bytes().splitlines()) <= child_log.MAX_LINE_BYTES


def test_the_file_is_set_aside_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_log, "MAX_FILE_BYTES", 1000)
    log = ChildLog("child", tmp_path)
    for number in range(200):
        log.feed(b"%06d %s\n" % (number, b"x" * 92))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[-2:] == ["child.log.1", "child.log.2"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * 1100
    assert (tmp_path / "child.log.1").read_text().splitlines()[-1].startswith("000199")


def test_warnings_are_shown_and_information_is_not(tmp_path: Path) -> None:
    log = ChildLog("trainer", tmp_path)
    with capture_logs() as shown:
        for level in ("debug", "info", "warning", "error"):
            line = json.dumps({"event": f"said_{level}", "level": level, "job": 3, "exception": "Traceback…"})
            log.feed(f"{line}\n".encode())
        log.feed(b"no event\n{}\n{broken\n\xff\xfe\n")
    assert [(event["event"], event["log_level"]) for event in shown] == [
        ("said_warning", "warning"),
        ("said_error", "error"),
    ]
    assert shown[0]["service"] == "trainer"
    assert shown[0]["job"] == 3
    assert "exception" not in shown[0]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['{"event": "service_start_failed", "level": "error", "reason": "no model"}', "bye"], "no model"),
        (["Traceback (most recent call last):", "ValueError: no"], "ValueError: no"),
        (['{"event": "fine", "level": "info"}', "Segmentation fault"], "Segmentation fault"),
        (
            [
                "2026-01-01 00:00:00.000 UTC [7] PANIC:  could not locate a valid checkpoint record",
                "2026-01-01 00:00:00.001 UTC [8] FATAL:  the database system is starting up",
            ],
            "PANIC: could not locate a valid checkpoint record",
        ),
    ],
)
def test_the_reason_of_an_end_is_found(tmp_path: Path, lines: list[str], reason: str) -> None:
    log = ChildLog("child", tmp_path)
    log.feed("".join(f"{line}\n" for line in lines).encode())
    assert log.reason() == reason
    log.forget()
    assert log.reason() == f"see {tmp_path / 'child.log'}"


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    log = ChildLog("child", tmp_path / "missing")
    log.feed(b"a line\n")
    assert log.reason() == "a line"
