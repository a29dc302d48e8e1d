"""What a trace of Chromium says about frames and about the page's own work."""

import json
from bisect import bisect_left
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

# Of Chromium's tracing: tasks with their CPU time, and what became of each frame.
CATEGORIES = ["toplevel", "disabled-by-default-devtools.timeline.frame"]
MAIN_THREAD = "CrRendererMain"
TASK, FRAME, REPORT = "ThreadControllerImpl::RunTask", "DrawFrame", "PipelineReporter"
# Chromium's word for a frame in which the page had nothing new to show.
NOTHING_NEW = "STATE_NO_UPDATE_DESIRED"
# A frame that takes longer is seen as a jerk.
LATE_MS = 50.0


@dataclass(frozen=True)
class Frames:
    """A trace in milliseconds.

    longest_task: the most CPU time of a task of the page's main thread. No frame is shorter than that.
    longest_frame, median_frame: until a frame was drawn, from the frame before or from when the page last had nothing
    new to show: while it waits for the wheel or for a picture, no frame is late. By the clock, so that a busy machine
    makes them longer.
    late: how many frames took longer than LATE_MS.
    """

    frames: int
    longest_task: float
    longest_frame: float
    median_frame: float
    late: int

    @classmethod
    def of(cls, trace: bytes) -> "Frames":
        """Read a trace as Chromium writes it."""
        events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
        main = {
            (event["pid"], event["tid"])
            for event in events
            if event["name"] == "thread_name" and event["args"]["name"] == MAIN_THREAD
        }
        tasks = [event for event in events if event["name"] == TASK and (event["pid"], event["tid"]) in main]
        drawn = sorted(event["ts"] for event in events if event["name"] == FRAME)
        idle = sorted(event["ts"] for event in events if event["name"] == REPORT and _has_nothing_new(event))
        lengths = sorted((later - _began(earlier, later, idle)) / 1000 for earlier, later in pairwise(drawn))
        return cls(
            len(drawn),
            max(event.get("tdur", 0) for event in tasks) / 1000,
            lengths[-1],
            lengths[len(lengths) // 2],
            sum(length > LATE_MS for length in lengths),
        )

    def report(self) -> str:
        """Return the figures, to be looked at."""
        return json.dumps({name: round(value, 1) for name, value in asdict(self).items()}) + "\n"


def _has_nothing_new(event: dict[str, Any]) -> bool:
    return event["ph"] == "b" and bool(event["args"]["frame_reporter"]["state"] == NOTHING_NEW)


def _began(earlier: float, later: float, idle: list[float]) -> float:
    """Return when a frame began that was drawn `later`. idle: when there was nothing to show, sorted."""
    place = bisect_left(idle, later)
    return max(earlier, idle[place - 1]) if place else earlier
