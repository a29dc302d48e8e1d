"""A child's output is kept in bounded files, and the line that explains its end is found."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from standalone.process import child_log
from standalone.process.child_log import ChildLog


def test_lines_are_put_together_from_pieces_of_any_size(tmp_path: Path) -> None:
    log = ChildLog("child", tmp_path)
    for piece in (b"one\ntw", b"o\n", b"", b"thr", b"ee"):
        log.feed(piece)
    log.end()
    assert (tmp_path / "child.log").read_text() == "one\ntwo\nthree\n"


def test_an_endless_line_is_cut(tmp_path: Path) -> None:
    log = ChildLog("child", tmp_path)
    for _ in range(64):
        log.feed(b"x" * 65536)
    log.end()
    assert max(len(line) for line in (tmp_path / "child.log").read_bytes().splitlines()) <= child_log.MAX_LINE_BYTES


def test_the_file_is_rotated_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_log, "MAX_FILE_BYTES", 1000)
    log = ChildLog("child", tmp_path)
    for number in range(200):
        log.feed(b"%06d %s\n" % (number, b"x" * 92))
    log.end()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["child.log", "child.log.1", "child.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text() for name in reversed(names)).splitlines()
    assert [int(line[:6]) for line in kept] == list(range(200 - len(kept), 200))


def test_warnings_and_errors_are_shown_to_the_operator(tmp_path: Path) -> None:
    log = ChildLog("trainer", tmp_path)
    with capture_logs() as shown:
        for level in ("debug", "info", "warning", "error"):
            line = json.dumps({"event": f"said_{level}", "level": level, "job": 3, "exception": "Traceback…"})
            log.feed(f"{line}\n".encode())
        log.feed(b"no event\n{}\n{broken\n\xff\xfe\n")
    log.end()
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
def test_the_reason_for_the_end_is_found(tmp_path: Path, lines: list[str], reason: str) -> None:
    log = ChildLog("child", tmp_path)
    log.feed("".join(f"{line}\n" for line in lines).encode())
    log.end()
    assert log.reason() == reason
    log.forget()
    assert log.reason() == f"see {tmp_path / 'child.log'}"


def test_a_log_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    log = ChildLog("child", tmp_path / "missing")
    log.feed(b"a line\n")
    log.end()
    assert log.reason() == "a line"
