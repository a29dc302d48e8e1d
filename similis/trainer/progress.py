"""Progress: percent done over all phases of a job, never falling."""

import asyncio
from enum import Enum


class Phase(Enum):
    """What a running job does."""

    FETCHING = "fetching"
    FITTING = "fitting"
    CHECKING = "checking"
    INDEXING = "indexing"
    PUBLISHING = "publishing"


# Where each phase begins, in percent: about the share of its time in a first finetune.
BEGINS = {Phase.FETCHING: 0.0, Phase.FITTING: 70.0, Phase.CHECKING: 88.0, Phase.INDEXING: 89.0, Phase.PUBLISHING: 99.0}
ENDS = dict(zip(BEGINS, [*list(BEGINS.values())[1:], 100.0], strict=True))


class Progress:
    """Where a job stands. `changed` is set at every change, and cleared by whoever looks."""

    def __init__(self, percent: float = 0.0) -> None:
        self.phase = Phase.FETCHING
        self.percent = percent
        self.changed = asyncio.Event()
        self._total = 0
        self._done = 0

    def enter(self, phase: Phase, total: int) -> None:
        """A phase of `total` steps begins. A phase can be entered again: the percentage waits until it is caught up."""
        self.phase = phase
        self._total = total
        self._done = 0
        self._update()

    def advance(self, steps: int) -> None:
        """Steps of the phase are done."""
        self._done += steps
        self._update()

    def _update(self) -> None:
        share = min(self._done / self._total, 1.0) if self._total else 0.0
        begin, end = BEGINS[self.phase], ENDS[self.phase]
        self.percent = max(self.percent, begin + (end - begin) * share)
        self.changed.set()
