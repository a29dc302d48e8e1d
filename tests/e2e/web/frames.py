"""What a trace of Chromium says about frames and about the page's own work."""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

# Of Chromium's tracing: tasks with their CPU time, and what was drawn.
CATEGORIES = ["toplevel", "disabled-by-default-devtools.timeline.frame"]
MAIN_THREAD = "CrRendererMain"
TASK, FRAME = "ThreadControllerImpl::RunTask", "DrawFrame"


@dataclass(frozen=True)
class Frames:
    """A trace in milliseconds.

    longest_task: the most CPU time of a task of the page's main thread. No frame is shorter than that.
    longest_frame, median_frame: between two frames, by the clock; a busy machine makes them longer.
    """

    frames: int
    longest_task: float
    longest_frame: float
    median_frame: float

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
        between = sorted((later - earlier) / 1000 for earlier, later in pairwise(drawn))
        return cls(
            len(drawn), max(event.get("tdur", 0) for event in tasks) / 1000, between[-1], between[len(between) // 2]
        )

    def report(self) -> str:
        """Return the figures, to be looked at."""
        return json.dumps({name: round(value, 1) for name, value in asdict(self).items()}) + "\n"
