"""One image on its way to its vectors."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

LaneName = Literal["interactive", "bulk"]


@dataclass(frozen=True)
class Outcome:
    """The vectors of an image as bytes (float32, little-endian, 1 + views of them), or an error."""

    vectors: tuple[bytes, ...] = ()
    code: str | None = None
    message: str = ""


@dataclass(eq=False)
class Item:
    """An image that waits. `deadline` is on the monotonic clock. `alone`: it may have killed a worker."""

    image: bytes = field(repr=False)
    lane: LaneName
    deadline: float
    views: int = 0
    seed: int = 0
    canary: bool = False
    alone: bool = False
    arrived: float = field(default_factory=time.monotonic)
    outcome: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def wanted(self) -> bool:
        """False once the caller is gone."""
        return not self.outcome.done()

    def settle(self, outcome: Outcome) -> None:
        """Gives the caller its outcome, if it still waits."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """Raises in the caller, if it still waits."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
