"""How large the attacks are: short in `make test`, long in `make chaos`."""

import os

# Seconds, connections and requests are multiplied by it.
SCALE = float(os.environ.get("SIMILIS_CHAOS_SCALE", "1"))


def scaled(number: float) -> int:
    """Return a number of seconds, connections or requests at the scale of this run."""
    return int(number * SCALE)
