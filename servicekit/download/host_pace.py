"""The pace of one host: how many requests at a time, how far apart, and whether to ask at all.

The number of requests at a time follows TCP's congestion control (Chiu and Jain, 1989; Jacobson, 1988): it doubles each
round until the host shows that it is busy, later it grows by one each round, and it halves when the host refuses
requests, answers 503, or does not answer in time. A host that refuses requests also gets them further apart: a little
slower than it last accepted them. A circuit breaker (Nygard, 2007, "Release It!") gives up a host that stays silent.

This module knows no event loop: the caller tells it the time, in seconds.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf

START_AT_ONCE = 1
# A host that takes longer to begin an answer gets no more requests at a time.
SLOW_SECONDS = 5.0
# How much slower than the host accepted requests we ask after a refusal, and how the distance shrinks with each answer:
# by little where the limit is likely to be, by more once so many answers show that it is not there.
SLOWER, FASTER, MUCH_FASTER = 1.1, 0.99, 0.97
NEAR_ANSWERS = 12
SHORTEST_INTERVAL = 0.02
# A longer time without a request means that there was nothing to ask for.
IDLE_SECONDS = 1.0
# Pauses after a refusal that names no time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# Failures in a row that a host may need to catch up.
CATCHES_UP_AFTER = 3
# Failures in a row until a host is suspected, and gets one request at a time, and until it is given up.
SUSPECT_AFTER = 8
OPEN_AFTER = 11
# A host that has answered before must also have been silent for this long before it is given up.
OPEN_SECONDS = 60.0
# Between two requests to a suspected host that has answered before, and between two probes of one that was given up.
LONGEST_PROBE_PAUSE = 4.0
PROBE_SECONDS = 4.0


class Held(Enum):
    """Why a host gets fewer requests than we would send. The values are shown to clients."""

    RATE_LIMITED = "rate_limited"
    SLOW = "slow"
    SILENT = "silent"


@dataclass(frozen=True)
class Request:
    """A request that was sent. alone: no other request to the host was allowed at the time."""

    started: float
    alone: bool


class HostPace:
    """The pace of one host, which learns from each request."""

    def __init__(self, *, most: int, patience: float) -> None:
        """most: requests at a time. patience: seconds without an answer until a host that refuses is given up."""
        self._most = most
        self._patience = patience
        self._limit = float(min(START_AT_ONCE, most))
        self._running = 0
        # Requests that were sent before the last cut say nothing new about the pace after it.
        self._cut_at = -inf
        self._slow = False
        self._paused_until = -inf
        self._pause = FIRST_PAUSE
        self._interval = 0.0
        self._last_start = -inf
        # Since the last refusal: requests, and the time between them without what is not due to the host's pace.
        self._sent = 0
        self._busy_seconds = 0.0
        self._refused_since: float | None = None
        self._failures = 0
        self._last_answer: float | None = None
        # Answers in a row that began and did not end in time. Only a whole answer is a sign of a host that works.
        self._stalls = 0
        self._last_whole: float | None = None
        self._newest_answered = -inf
        self._probe_at = -inf
        self._probe_pause = FIRST_PAUSE

    @property
    def at_once(self) -> int:
        """The number of requests that the host gets at a time."""
        return 1 if self._suspected else int(self._limit)

    @property
    def unknown_and_silent(self) -> bool:
        """Whether the host has never answered, although it was asked."""
        return self._last_answer is None and self._failures > 0

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._running == 0

    def is_open(self, now: float) -> bool:
        """Return whether the host was given up: only a probe now and then is allowed."""
        if self._refused_since is not None and now - self._refused_since >= self._patience:
            return True
        return any(
            failures >= OPEN_AFTER and (worked is None or now - worked >= OPEN_SECONDS)
            for failures, worked in ((self._failures, self._last_answer), (self._stalls, self._last_whole))
        )

    def refusal(self, now: float, *, retry: bool) -> str | None:
        """Return why the host must not be asked now, as a sentence; None if it may be asked, perhaps later.

        retry: whether this image was asked for before. It is not retried on a host that has never answered, so that
        retries do not use up the probes.
        """
        useless = retry and self._suspected and self._last_answer is None
        if not useless and not (self.is_open(now) and now < self._probe_at):
            return None
        return "The host does not answer." if self._refused_since is None else "The host keeps asking us to wait."

    def delay(self, now: float) -> float:
        """Return the seconds until a request may be sent; infinity while too many are under way."""
        if self._running >= self.at_once:
            return inf
        return max(self._paused_until - now, self._last_start + self._interval - now, 0.0)

    def begin(self, now: float) -> Request:
        """Record that a request is being sent."""
        self._running += 1
        self._sent += 1
        waited = max(self._paused_until - self._last_start, self._interval)
        self._busy_seconds += min(now - self._last_start, waited + IDLE_SECONDS) if self._last_start > -inf else 0.0
        self._last_start = now
        self._probe_at = now + PROBE_SECONDS
        return Request(now, alone=self.at_once == 1)

    def end(self) -> None:
        """Record that a request is over, however it ended."""
        self._running -= 1

    def answered(self, request: Request, now: float, *, overloaded: bool = False) -> None:
        """Record the head of an answer that is no request to wait. overloaded: the status is 503."""
        self._failures = 0
        self._refused_since = None
        self._pause = self._probe_pause = FIRST_PAUSE
        self._last_answer = now
        self._newest_answered = max(self._newest_answered, request.started)
        self._slow = now - request.started > SLOW_SECONDS
        faster = FASTER if self._sent <= NEAR_ANSWERS else MUCH_FASTER
        self._interval = self._interval * faster if self._interval > SHORTEST_INTERVAL else 0.0
        if overloaded:
            self._cut(request, now)
        elif not self._slow:
            self._grow()

    def refused(self, request: Request, now: float, seconds: float | None) -> None:
        """Record a request to wait, for `seconds` if the host named a time."""
        if self._refused_since is None:
            self._refused_since = now
        if self._cut(request, now):
            self._space_out()
            pause = self._pause if seconds is None else seconds
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        else:
            pause = seconds or 0.0
        # A single image may ask for a year, and all images of the host wait.
        longest = max(self._patience, LONGEST_PAUSE)
        self._paused_until = max(self._paused_until, now + (pause if pause <= longest else LONGEST_PAUSE))
        self._probe_at = max(now + PROBE_SECONDS, self._paused_until)

    def silent(self, request: Request, now: float) -> bool:
        """Record that no answer came. Return whether this is likely to be the image's fault, or a dead host's.

        It is not if the host only had too much to do: we asked for other images at the same time, and it answered no
        request that was sent later. Nor if the host has gone silent altogether: then its images wait together.
        """
        if self._newest_answered > request.started:
            return True
        # The host may still work on the requests that we have given up.
        behind = 0 < self._failures < CATCHES_UP_AFTER
        self._failures += 1
        self._probe_at = now + PROBE_SECONDS
        self._cut(request, now)
        if self._last_answer is None:
            return True
        if self._suspected:
            self._paused_until = max(self._paused_until, now + self._probe_pause)
            self._probe_pause = min(self._probe_pause * 2, LONGEST_PROBE_PAUSE)
            return False
        return request.alone and not behind

    def stalled(self, request: Request, now: float) -> None:
        """Record that an answer began and did not end in time."""
        self._stalls += 1
        self._probe_at = now + PROBE_SECONDS
        self._cut(request, now)

    def ended_whole(self, now: float) -> None:
        """Record that an answer came to its end."""
        self._stalls = 0
        self._last_whole = now

    def held(self, now: float) -> Held | None:
        """Return why the host gets fewer requests than we would send; None if it does not."""
        if self._suspected or (self.is_open(now) and self._refused_since is None):
            return Held.SILENT
        if self._interval or self._refused_since is not None or now < self._paused_until:
            return Held.RATE_LIMITED
        return Held.SLOW if self.at_once < self._most and (self._slow or self._was_cut) else None

    @property
    def _suspected(self) -> bool:
        return max(self._failures, self._stalls) >= SUSPECT_AFTER

    @property
    def _was_cut(self) -> bool:
        return self._cut_at > -inf

    def _grow(self) -> None:
        self._limit = min(self._limit + (1 / self._limit if self._was_cut else 1), self._most)

    def _cut(self, request: Request, now: float) -> bool:
        """Halve the number of requests at a time, once for all that were under way. Return whether it was this one."""
        if request.started < self._cut_at:
            return False
        self._limit = max(self._limit / 2, 1.0)
        self._cut_at = now
        return True

    def _space_out(self) -> None:
        """Put requests a little further apart than the host accepted them since its last refusal."""
        # All but this one; those that are still under way count as accepted.
        accepted = self._sent - 1
        measured = self._busy_seconds / accepted if accepted else 0.0
        # The pause itself makes the measure a little too long, and after few requests it is rough.
        base = min(measured, 2 * self._interval) if self._interval else measured
        base = base if base > self._interval * 1.5 else self._interval
        self._interval = min(max(SLOWER * base, SHORTEST_INTERVAL), LONGEST_PAUSE)
        self._busy_seconds, self._sent = 0.0, 0
