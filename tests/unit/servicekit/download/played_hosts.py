"""Image hosts and a clock in a simulation: hours of downloads in milliseconds."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from servicekit.download.host_pace import HostPace, Request

FIRST_BYTE_SECONDS = 60.0
ATTEMPTS = 3


@dataclass(frozen=True)
class Answer:
    """What a host does with a request.

    seconds: until it answers. refused: it asks to wait, for `wait` seconds if given. silent: it never answers.
    """

    seconds: float
    refused: bool = False
    wait: float | None = None
    silent: bool = False


class PlayedHost(Protocol):
    def ask(self, now: float) -> Answer: ...


@dataclass
class SerialHost:
    """Makes one image after the other, `seconds` each, also those that nobody waits for any more."""

    seconds: float
    free_at: float = 0.0

    def ask(self, now: float) -> Answer:
        self.free_at = max(self.free_at, now) + self.seconds
        return Answer(self.free_at - now)


@dataclass
class LimitedHost:
    """Accepts `rate` requests per second, and `burst` at once. Refuses the others, for `wait` seconds if it is set."""

    rate: float
    burst: float = 1.0
    wait: float | None = None
    seconds: float = 0.05
    _tokens: float = field(default=0.0, init=False)
    _at: float = field(default=-inf, init=False)

    def ask(self, now: float) -> Answer:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return Answer(self.seconds, refused=True, wait=self.wait)
        self._tokens -= 1
        return Answer(self.seconds)


@dataclass
class RestartingHost:
    """Answers quickly, but not at all from `down` to `up`."""

    down: float
    up: float

    def ask(self, now: float) -> Answer:
        return Answer(0.01 if self.down <= now < self.up else 0.1, silent=self.down <= now < self.up)


@dataclass
class Outcome:
    """What became of the images. counts: requests, refusals, silences, lost images. seconds: the time that it took."""

    counts: Counter[str]
    seconds: float
    most_at_once: int
    pace: HostPace


def download_all(host: PlayedHost, images: int, *, most: int = 8, patience: float = 300.0) -> Outcome:
    """Download images from one host at its pace, and return what became of them."""
    pace = HostPace(most=most, patience=patience)
    now, order, most_at_once = 0.0, 0, 0
    counts: Counter[str] = Counter()
    waiting = [0] * images
    under_way: list[tuple[float, int, Answer, Request, int]] = []
    while waiting or under_way:
        while waiting and pace.refusal(now, retry=False):
            waiting.pop()
            counts["lost"] += 1
        while waiting and pace.delay(now) == 0:
            failed = waiting.pop()
            request, answer = pace.begin(now), host.ask(now)
            counts["requests"] += 1
            order += 1
            heapq.heappush(under_way, (now + min(answer.seconds, FIRST_BYTE_SECONDS), order, answer, request, failed))
            most_at_once = max(most_at_once, len(under_way))
        if not waiting and not under_way:
            break
        now = min(under_way[0][0] if under_way else inf, now + pace.delay(now) if waiting else inf)
        while under_way and under_way[0][0] <= now:
            _, _, answer, request, failed = heapq.heappop(under_way)
            if answer.silent or answer.seconds > FIRST_BYTE_SECONDS:
                counts["silences"] += 1
                failed += pace.silent(request, now)
                waiting += [failed] if failed < ATTEMPTS else []
                counts["lost"] += failed == ATTEMPTS
            elif answer.refused:
                counts["refusals"] += 1
                pace.refused(request, now, answer.wait)
                waiting.append(failed)
            else:
                pace.answered(request, now)
            pace.end()
    return Outcome(counts, now, most_at_once, pace)
