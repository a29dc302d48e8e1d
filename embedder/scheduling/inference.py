"""The step between a decoded image and its vectors: done by the same worker, or in batches by another one."""

from typing import Protocol

from embedder.metrics import EmbedderMetrics
from embedder.workers.messages import WorkResult


class Inference(Protocol):
    """What follows when a worker has decoded an image."""

    def reserve(self, inputs: int) -> list[int] | None:
        """Return slots for the pixels of an image and its views, or None if too few are free."""
        ...

    def release(self, slots: list[int]) -> None:
        """Free the slots of an image."""
        ...

    async def infer(self, decoded: WorkResult, slots: list[int], *, urgent: bool) -> WorkResult:
        """Return the result with vectors, given the result of the worker that decoded the image into `slots`."""
        ...


class FusedInference:
    """Inference by the worker that decoded the image. Its result has the vectors already, and it needs no slots."""

    def __init__(self, metrics: EmbedderMetrics) -> None:
        self._metrics = metrics

    def reserve(self, inputs: int) -> list[int] | None:  # noqa: ARG002
        """See `Inference`."""
        return []

    def release(self, slots: list[int]) -> None:
        """See `Inference`."""

    async def infer(self, decoded: WorkResult, slots: list[int], *, urgent: bool) -> WorkResult:  # noqa: ARG002
        """See `Inference`."""
        self._metrics.forward.observe(decoded.forward_seconds)
        self._metrics.batch_size.observe(decoded.batch_size)
        return decoded
