"""Progress of a job: percent over all phases, which never falls, and the estimated time left."""

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import Enum

from catalog.jobs import PacingHost, PhaseCounts


class Phase(Enum):
    """The phases of a running job, in order. A collection that can be searched already has no first index."""

    FETCHING = "fetching"
    FIRST_INDEX = "first_index"
    VIEWS = "views"
    FITTING = "fitting"
    CHECKING = "checking"
    INDEXING = "indexing"
    PUBLISHING = "publishing"

    @property
    def order(self) -> int:
        """Its place among the phases."""
        return list(Phase).index(self)


# Roughly the share of each phase of the time, in percent. FETCHING includes the phases up to FITTING if there are any.
SHARES = {
    Phase.FETCHING: 70.0,
    Phase.FIRST_INDEX: 0.0,
    Phase.VIEWS: 0.0,
    Phase.FITTING: 18.0,
    Phase.CHECKING: 1.0,
    Phase.INDEXING: 10.0,
    Phase.PUBLISHING: 1.0,
}
FIRST_INDEX_SHARE = 2.0
# A phase must have run for this long before its speed says anything.
SETTLES_SECONDS = 1.0


class Progress:
    """The progress of one job. `changed` is set at every change; the reader clears it."""

    def __init__(self, percent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """percent: what an earlier attempt reached. clock: returns seconds."""
        self.phase = Phase.FETCHING
        self.percent = percent
        self.changed = asyncio.Event()
        # Returns the hosts that set the pace; the phase that downloads sets it.
        self.paced_by: Callable[[], Sequence[PacingHost]] = _no_hosts
        self._shares = SHARES
        self._clock = clock
        self._entered = clock()
        self._passes = 1
        self._total = 0
        self._done = 0
        self._skipped = 0
        # The estimated end of the job, by the clock.
        self._end: float | None = None

    def expect_first_index(self, images: int, views: int) -> None:
        """Divide the time between fetching and fitting, given the number of images and of views to embed."""
        both = SHARES[Phase.FETCHING] - FIRST_INDEX_SHARE
        fetching = both * images / max(images + views, 1)
        first = {Phase.FETCHING: fetching, Phase.FIRST_INDEX: FIRST_INDEX_SHARE, Phase.VIEWS: both - fetching}
        self._shares = {**SHARES, **first}

    def enter(self, phase: Phase, images: int, *, passes: int = 1) -> None:
        """Begin a phase that processes `images` images `passes` times.

        When a phase is entered again, the percentage stays until the work has caught up with it.
        """
        self.phase = phase
        self.paced_by = _no_hosts
        self._entered = self._clock()
        self._passes = passes
        self._total = images * passes
        self._done = 0
        self._skipped = 0
        self._update()

    def advance(self, steps: int) -> None:
        """Count processed images; each pass over an image counts."""
        self._done += steps
        self._update()

    def skip(self, steps: int) -> None:
        """Count images that need no work. They do not enter the estimate."""
        self._skipped += steps
        self._update()

    @property
    def counts(self) -> PhaseCounts:
        """The images of the current phase, and the seconds left of the job."""
        images = min(self._done + self._skipped, self._total) // self._passes
        left = None if self._end is None else self._end - self._clock()
        # A job that has outlasted its estimate has none.
        estimate = None if left is None or left <= 0.0 else left
        return PhaseCounts(images, self._total // self._passes, estimate, self.paced_by())

    def _update(self) -> None:
        share = min((self._done + self._skipped) / self._total, 1.0) if self._total else 0.0
        begin = sum(self._shares[phase] for phase in Phase if phase.order < self.phase.order)
        width = self._shares[self.phase]
        self.percent = min(max(self.percent, begin + width * share), 100.0)
        if width:
            self._estimate(width, 100.0 - begin - width)
        self.changed.set()

    def _estimate(self, width: float, later: float) -> None:
        """Extrapolate the current phase at its speed so far, and later phases by their share of the whole.

        width, later: percent of the job that this phase takes, and that the later phases take.
        """
        elapsed = self._clock() - self._entered
        if elapsed < SETTLES_SECONDS or not self._done:
            return
        left = max(self._total - self._skipped - self._done, 0) * elapsed / self._done
        self._end = self._clock() + left + (elapsed + left) * later / width


def _no_hosts() -> Sequence[PacingHost]:
    return ()
