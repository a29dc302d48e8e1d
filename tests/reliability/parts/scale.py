"""How large the attacks are: short in `make test`, long in `make chaos`."""

import os

# Seconds, connections and requests are multiplied by it.
SCALE = float(os.environ.get("SIMILIS_CHAOS_SCALE", "1"))
LONG = SCALE > 1


def scaled(number: float) -> int:
    """Return a number of seconds, connections or requests at the scale of this run."""
    return int(number * SCALE)


def rounds(number: int) -> range:
    """Return the rounds of a test: one, or in the long form `number` at ten times the usual scale."""
    return range(max(1, round(number * SCALE / 10)) if LONG else 1)
