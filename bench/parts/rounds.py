"""The figures of several rounds."""

import statistics


class Rounds:
    """The figures of all rounds, by name."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """Add the figure of a round."""
        self.values.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Return the median over all rounds."""
        return statistics.median(self.values[name])
