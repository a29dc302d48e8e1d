"""Progress: percent done over all phases of a job, never falling, and how long the rest will take."""

import asyncio
import time
from collections.abc import Callable
from enum import Enum

from catalog.jobs import PhaseCounts


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


# An estimate needs so many seconds of a phase to go by.
SETTLES_SECONDS = 1.0


class Progress:
    """Where a job stands. `changed` is set at every change, and cleared by whoever looks."""

    def __init__(self, percent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: gives seconds."""
        self.phase = Phase.FETCHING
        self.percent = percent
        self.changed = asyncio.Event()
        self._clock = clock
        self._entered = clock()
        self._passes = 1
        self._total = 0
        self._done = 0
        self._skipped = 0
        # When the job will end, by the clock.
        self._end: float | None = None

    def enter(self, phase: Phase, images: int, *, passes: int = 1) -> None:
        """A phase begins that goes over so many images, `passes` times.

        A phase can be entered again: the percentage waits until it is caught up.
        """
        self.phase = phase
        self._entered = self._clock()
        self._passes = passes
        self._total = images * passes
        self._done = 0
        self._skipped = 0
        self._update()

    def advance(self, steps: int) -> None:
        """So many images were gone over in the phase, each pass counts."""
        self._done += steps
        self._update()

    def skip(self, steps: int) -> None:
        """So many images need nothing; how fast the others are is not to be told from them."""
        self._skipped += steps
        self._update()

    @property
    def counts(self) -> PhaseCounts:
        """How far the phase is, and the job."""
        images = min(self._done + self._skipped, self._total) // self._passes
        left = None if self._end is None else max(self._end - self._clock(), 0.0)
        return PhaseCounts(images, self._total // self._passes, left)

    def _update(self) -> None:
        share = min((self._done + self._skipped) / self._total, 1.0) if self._total else 0.0
        begin, end = BEGINS[self.phase], ENDS[self.phase]
        self.percent = max(self.percent, begin + (end - begin) * share)
        self._estimate(end - begin, 100.0 - end)
        self.changed.set()

    def _estimate(self, width: float, later: float) -> None:
        """The phase goes on as it went, and the later ones take as long as their part of the whole says.

        width, later: percent of the whole that the phase is, and that the phases after it are.
        """
        elapsed = self._clock() - self._entered
        if elapsed < SETTLES_SECONDS or not self._done:
            return
        left = max(self._total - self._skipped - self._done, 0) * elapsed / self._done
        self._end = self._clock() + left + (elapsed + left) * later / width
