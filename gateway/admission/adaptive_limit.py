"""A limit on concurrency that follows the latency of the work.

Work that has the machine for itself takes a certain time. With more and more of it at once, throughput first rises, and
then only latency does. The limit keeps the mean latency at about `WANTED_RATIO` times what the work takes alone. This
is the idea of TCP Vegas and of Envoy's adaptive concurrency.
"""

from statistics import mean

# While the mean latency is below the first ratio, the limit grows; above the second, it shrinks.
GROW_BELOW = 2.5
SHRINK_ABOVE = 3.5
WANTED_RATIO = 3.0
# A single step divides the limit by no more than this.
MOST_SHRINKING = 2.0
# The limit is reviewed after as many pieces of work as this, or as the limit if that is more.
WINDOW = 10
START = 8
# How much a new measurement counts.
WEIGHT = 0.1


class AdaptiveLimit:
    """How many pieces of work may run at a time.

    Latencies are compared by kind: a number that stands for pieces of work that take about as long as each other.
    """

    def __init__(self, most: int, *, least: int = 1) -> None:
        """most, least: the bounds of the limit."""
        self._most = most
        self._least = min(least, most)
        self.value = min(most, max(START, least))
        self._alone: dict[int, float] = {}
        self._ratio = 1.0
        self._ratios: list[float] = []
        self._was_reached = False
        # What a piece of work takes alone, and how long after another one it ends now, in seconds. 0: not known yet.
        self.seconds_alone = 0.0
        self.interval = 0.0

    def reached(self) -> None:
        """Note that work had to wait because of the limit."""
        self._was_reached = True

    def completed(self, kind: int, seconds: float, *, running: int = 1, alone: bool) -> None:
        """Take in how long a piece of work took. running: how many ran at its end. alone: no other ran meanwhile."""
        usual = self._learned(kind, seconds, alone=alone)
        self.interval = _mixed(self.interval, seconds / running)
        self.seconds_alone = _mixed(self.seconds_alone, usual)
        self._ratios.append(seconds / usual if usual else 1.0)
        if len(self._ratios) >= max(WINDOW, self.value):
            self._review()

    def _learned(self, kind: int, seconds: float, *, alone: bool) -> float:
        """Return what work of this kind takes alone, after this measurement."""
        known = self._alone.get(kind)
        if known is None:
            # Other kinds tell how much slower everything is at the moment.
            known = seconds if alone else seconds / self._ratio
        elif alone or seconds < known:
            known = _mixed(known, seconds)
        self._alone[kind] = known
        return known

    def _review(self) -> None:
        self._ratio = max(1.0, mean(self._ratios))
        if self._ratio > SHRINK_ABOVE:
            self.value = max(self._least, int(self.value / min(MOST_SHRINKING, self._ratio / WANTED_RATIO)))
        elif self._ratio < GROW_BELOW and self._was_reached:
            self.value = min(self._most, self.value + max(1, self.value // 4))
        self._ratios.clear()
        self._was_reached = False


def _mixed(known: float, measured: float) -> float:
    return measured if not known else known + WEIGHT * (measured - known)
