"""Figures, what each is compared with, and the bars that they have to clear."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """What we want of a figure. of_reference: the limit is a multiple of the figure's reference."""

    limit: float
    at_least: bool
    of_reference: bool = False

    def holds(self, value: float) -> bool:
        """Return whether a value, or with `of_reference` a ratio, clears the bar."""
        return value >= self.limit if self.at_least else value <= self.limit


def at_least(limit: float, *, of_reference: bool = False) -> Bar:
    """Return a bar that lies below what we want."""
    return Bar(limit, at_least=True, of_reference=of_reference)


def at_most(limit: float, *, of_reference: bool = False) -> Bar:
    """Return a bar that lies above what we want."""
    return Bar(limit, at_least=False, of_reference=of_reference)


@dataclass(frozen=True)
class Reference:
    """What a figure is compared with, such as its bound. value: in the figure's unit."""

    name: str
    value: float


@dataclass(frozen=True)
class Figure:
    """A median over rounds. ratio: to the reference, the median of the ratios of the rounds."""

    name: str
    value: float
    unit: str
    lowest: float
    highest: float
    reference: Reference | None = None
    ratio: float | None = None
    bar: Bar | None = None

    @property
    def verdict(self) -> bool | None:
        """Whether the bar is cleared; None if there is none."""
        if self.bar is None:
            return None
        if not self.bar.of_reference:
            return self.bar.holds(self.value)
        # Without a ratio, nothing was compared.
        return self.ratio is not None and self.bar.holds(self.ratio)

    def to_json(self) -> dict[str, Any]:
        """Return the figure as a JSON object."""
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Figure":
        """Return the figure of a JSON object."""
        fields = {name: value for name, value in found.items() if name != "verdict"}
        for name, kind in (("reference", Reference), ("bar", Bar)):
            fields[name] = kind(**fields[name]) if fields[name] else None
        return cls(**fields)


def figure(
    name: str, values: float | Sequence[float], unit: str, *, reference: Reference | None = None, bar: Bar | None = None
) -> Figure:
    """Return the figure of one value, or of the values of all rounds, and compare it with a fixed reference."""
    rounds = [values] if isinstance(values, (int, float)) else list(values)
    median = statistics.median(rounds)
    ratio = median / reference.value if reference and reference.value else None
    return Figure(name, median, unit, min(rounds), max(rounds), reference, ratio, bar)


def compared(
    name: str, values: Sequence[float], unit: str, reference: str, others: Sequence[float], bar: Bar | None = None
) -> Figure:
    """Return the figure of the values of all rounds, each beside what was measured in the same round.

    The ratio is that of the rounds, because the machine may be slower in some of them.
    """
    ratio = statistics.median(value / other for value, other in zip(values, others, strict=True))
    beside = Reference(reference, statistics.median(others))
    return Figure(name, statistics.median(values), unit, min(values), max(values), beside, ratio, bar)
