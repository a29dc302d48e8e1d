"""How long the stages of searches take, from the gateway's metrics."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

STAGE = re.compile(r'^similis_search_stage_duration_seconds_(sum|count)\{stage="(\w+)"\} (\S+)$', re.MULTILINE)


class StageTimes:
    """The times of the stages, in groups."""

    def __init__(self, address: str) -> None:
        """address: of the gateway."""
        self._address = address
        self._groups: dict[str, Counter[tuple[str, str]]] = {}

    @contextmanager
    def of(self, group: str) -> Iterator[None]:
        """Add the searches of the block to a group."""
        before = self._totals()
        yield
        after = self._totals()
        after.subtract(before)
        self._groups.setdefault(group, Counter()).update(after)

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean milliseconds of each stage that occurred, by group."""
        return {
            group: {
                stage: round(1000 * seconds / totals["count", stage], 3)
                for (kind, stage), seconds in totals.items()
                if kind == "sum" and totals["count", stage]
            }
            for group, totals in self._groups.items()
        }

    def _totals(self) -> Counter[tuple[str, str]]:
        with urlopen(f"{self._address}/metrics") as answer:  # noqa: S310 (our own instance)
            text = answer.read().decode()
        return Counter({(kind, stage): float(value) for kind, stage, value in STAGE.findall(text)})
