"""The interface of workers that handle one request at a time."""

from dataclasses import replace
from typing import Protocol

from embedder.workers.memory import resident_bytes
from embedder.workers.messages import WorkRequest, WorkResult, to_body, to_header
from servicekit.process.parent_link import ParentLink


class Handler(Protocol):
    """Handles requests one after the other."""

    def handle(self, request: WorkRequest) -> WorkResult:
        """Return the result, which has a code if the image or the engine failed."""
        ...


def send_result(link: ParentLink, result: WorkResult) -> None:
    """Send a result, with the memory that this process has now."""
    link.send(to_header(replace(result, memory_bytes=resident_bytes())), to_body(result))
