"""Exponential backoff with jitter, for whatever is tried again."""

import random


class Backoff:
    """Delays between attempts, in seconds. Each is twice the one before, with jitter so that clients spread out.

    It only computes delays: when to give up, and what counts as progress, differs from caller to caller.
    """

    def __init__(self, first: float = 0.2, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def delay(self, retry_after: float | None = None) -> float:
        """Return the next delay. retry_after: what the server asked for, honoured up to the longest delay."""
        delay = max(self._next, min(retry_after or 0.0, self._longest))
        self._next = min(self._next * 2, self._longest)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 (not used as a secret)

    def reset(self) -> None:
        """Start again with the first delay."""
        self._next = self._first
