"""One image in the embedder, from its arrival to its result."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

from embedder.workers.messages import WorkResult
from servicekit.image_region import Region

LaneName = Literal["interactive", "bulk"]


@dataclass(eq=False)
class QueuedImage:
    """An image that waits for its result.

    lane: "interactive" for searches, "bulk" for finetunes. deadline: on the monotonic clock. canary: embed the canary
    instead. suspect: a worker exited while it had this image. region: the part to embed; None: all of it. whole: embed
    the image itself, not only its views. miniature: return one, too.
    """

    image: bytes = field(repr=False)
    lane: LaneName
    deadline: float
    views: int = 0
    seed: int = 0
    canary: bool = False
    suspect: bool = False
    region: Region | None = None
    whole: bool = True
    miniature: bool = False
    arrived: float = field(default_factory=time.monotonic)
    result: asyncio.Future[WorkResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def is_urgent(self) -> bool:
        """Whether it goes ahead of bulk images."""
        return self.lane == "interactive"

    @property
    def inputs(self) -> int:
        """How many inputs of the backbone it has."""
        return self.views + self.whole

    @property
    def is_wanted(self) -> bool:
        """Whether the caller still waits for it."""
        return not self.result.done()

    def finish(self, result: WorkResult) -> None:
        """Hand the result to the caller, if it still waits."""
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: Exception) -> None:
        """Raise an error in the caller, if it still waits."""
        if not self.result.done():
            self.result.set_exception(error)
