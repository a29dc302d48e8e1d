"""The progress of a finetune."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from similis_cli.output import note, printable, show_json_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from similis_client import CollectionInfo

PHASES = {
    "queued": "Waiting for a trainer",
    "fetching": "Downloading and embedding images",
    "first_index": "Making the collection searchable",
    "views": "Preparing to learn",
    "fitting": "Learning",
    "checking": "Checking what was learnt",
    "indexing": "Building the index",
    "publishing": "Publishing",
}
REASONS = {"rate_limited": "refuses requests", "slow": "is slow", "silent": "stopped answering"}


def follow(states: Iterator[CollectionInfo], *, as_json: bool) -> CollectionInfo:
    """Show the progress until the finetune has ended, and return the last state. Raises FinetuneFailed.

    As JSON, each state is a line on standard output. Otherwise, progress is on standard error.
    """
    if as_json:
        return _lines_of_json(states)
    return _bars(states) if sys.stderr.isatty() else _lines(states)


def _lines_of_json(states: Iterator[CollectionInfo]) -> CollectionInfo:
    shown: CollectionInfo | None = None
    for info in states:
        if info != shown:
            show_json_line(info)
        shown = info
    return _last(shown)


def _lines(states: Iterator[CollectionInfo]) -> CollectionInfo:
    """Say when a phase begins, for logs."""
    phase: str | None = None
    last: CollectionInfo | None = None
    for last in states:
        if last.is_finetuning and last.finetuning_phase not in (None, phase):
            phase = last.finetuning_phase
            note(f"{_percent(last)}{_title(phase)}")
    return _last(last)


def _bars(states: Iterator[CollectionInfo]) -> CollectionInfo:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[state]}", markup=False),
    )
    last: CollectionInfo | None = None
    with Progress(*columns, console=Console(stderr=True, highlight=False), refresh_per_second=8) as progress:
        whole = progress.add_task("Finetuning", total=100.0, state="")
        current: tuple[str, TaskID] | None = None
        for last in states:
            if not last.is_finetuning:
                continue
            percent = last.finetuning_progess or 0.0
            progress.update(
                whole,
                description=f"Finetuning {printable(last.name)[:40]}",
                completed=percent,
                state=f"{percent:3.0f} %{_left(last)}{_paced(last)}",
            )
            phase = last.finetuning_phase or "queued"
            if current is None or current[0] != phase:
                if current is not None:
                    _finish(progress, current[1])
                current = phase, progress.add_task(f"  {_title(phase)}", total=None, state="")
            counts = last.finetuning_counts
            if counts is not None and counts.total:
                state = f"{counts.done:,} of {counts.total:,}"
                progress.update(current[1], total=max(counts.total, 1), completed=counts.done, state=state)
        if current is not None:
            _finish(progress, current[1])
        progress.update(whole, completed=100.0, state="100 %")
    return _last(last)


def _finish(progress: Progress, task: TaskID) -> None:
    total = progress.tasks[progress.task_ids.index(task)].total
    # The last state that was seen may be one of the middle.
    state = "" if total is None else f"{total:,.0f} of {total:,.0f}"
    progress.update(task, total=total or 1, completed=total or 1, state=state)


def _last(info: CollectionInfo | None) -> CollectionInfo:
    if info is None:
        raise RuntimeError("The client yielded no state.")
    return info


def _title(phase: str | None) -> str:
    return PHASES.get(phase or "", printable(phase or ""))


def _percent(info: CollectionInfo) -> str:
    return "" if info.finetuning_progess is None else f"{info.finetuning_progess:3.0f} %  "


def _left(info: CollectionInfo) -> str:
    return "" if info.finetuning_seconds_left is None else f"  {duration(info.finetuning_seconds_left)} left"


def _paced(info: CollectionInfo) -> str:
    hosts = [f"{printable(pace.host)} {REASONS.get(pace.reason, pace.reason)}" for pace in info.finetuning_paced_by[:2]]
    return f"  ({', '.join(hosts)})" if hosts else ""


def duration(seconds: int) -> str:
    """Return a duration in words, rounded."""
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
