"""The seam between a decoded image and its vectors: nothing to do, or batches for another process."""

from typing import Protocol

from embedder.metrics import EmbedderMetrics
from embedder.workers.wire import Result

Answer = tuple[Result, bytes]


class Forwarding(Protocol):
    """What happens after a worker has decoded an image."""

    def reserve(self, count: int) -> list[int] | None:
        """Places for the pixels of an image and its views; None while there are too few."""
        ...

    def release(self, slots: list[int]) -> None:
        """Gives places back."""
        ...

    async def vectors(self, slots: list[int], answer: Answer, *, urgent: bool) -> Answer:
        """The answer with its vectors, given that of the decoder."""
        ...


class InPlace:
    """Workers that decode and infer: their answer has the vectors."""

    def __init__(self, metrics: EmbedderMetrics) -> None:
        self._metrics = metrics

    def reserve(self, count: int) -> list[int] | None:  # noqa: ARG002
        """No place is needed."""
        return []

    def release(self, slots: list[int]) -> None:
        """Nothing to give back."""

    async def vectors(self, slots: list[int], answer: Answer, *, urgent: bool) -> Answer:  # noqa: ARG002
        """They are there."""
        self._metrics.forward.observe(answer[0].forward_seconds)
        self._metrics.batch_size.observe(answer[0].batch)
        return answer
