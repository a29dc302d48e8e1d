"""The attempts at one image: which failures are followed by another attempt, and after which pause."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from servicekit.backoff import Backoff
from servicekit.download.failures import PASSING_SOON, ImageFailed, Reason
from servicekit.download.image_version import ImageVersion
from servicekit.download.limits import DownloadLimits
from servicekit.download.visitor import Visitor

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# How often an image may be refused by a host that accepts others.
MAX_REFUSALS = 30


@dataclass
class Attempt:
    """One attempt at an image. memory: what its body holds of the budget, until closed.

    counts: whether it counts as a failed one if it fails. refused: whether the host asked us to wait.
    """

    version: ImageVersion
    retry: bool
    clock: asyncio.Timeout
    memory: AsyncExitStack
    counts: bool = True
    refused: bool = False


class Attempts:
    """The attempts at one image: whether to try again after a failure, and after which pause."""

    def __init__(self, limits: DownloadLimits) -> None:
        self._limits = limits
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._failed = 0
        self._refusals = 0
        self._cookies_tried = False

    def pause_after(self, failure: ImageFailed, attempt: Attempt, visitor: Visitor) -> float | None:
        """Return the seconds to wait before the next attempt; None if there is none."""
        if failure.reason is Reason.WEB_PAGE and visitor.has_new_cookies and not self._cookies_tried:
            # Some gates only want their cookie back.
            self._cookies_tried = True
            return 0.0
        if failure.reason not in PASSING_SOON or attempt.clock.expired():
            return None
        if failure.retry_after is not None and failure.retry_after > self._limits.patience_seconds:
            return None
        if attempt.refused and not self._limits.patience_seconds:
            return None
        if attempt.refused:
            # The host's turn takes the pause into account.
            self._refusals += 1
            return 0.0 if self._refusals <= MAX_REFUSALS else None
        if not attempt.counts:
            return 0.0
        self._failed += 1
        if self._failed == self._limits.attempts:
            return None
        return self._backoff.delay() if failure.retry_after is None else failure.retry_after
