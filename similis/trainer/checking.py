"""Checking: whether a fitted adapter is good enough to be searched with."""

from typing import Protocol

from similis.trainer.fitting import Fitted, Report
from similis.trainer.stored_vectors import StoredVectors


class Check(Protocol):
    """Decides which adapter an index is made with."""

    async def check(self, vectors: StoredVectors, fitted: Fitted, report: Report) -> Fitted:
        """The adapter to use, with the figures that speak for it: the fitted one, or one to fall back to."""
        ...


class Adopt:
    """Takes the adapter as it is: an orthonormal projection has learnt nothing that could do harm."""

    async def check(self, vectors: StoredVectors, fitted: Fitted, report: Report) -> Fitted:  # noqa: ARG002
        """The fitted adapter."""
        return fitted
