"""Collections of a running instance that are finetuned over its API."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from demo.rest_client import RestClient

# A search by an indexed image itself scores at least this.
COPY_SCORE = 0.99
POLL_SECONDS = 0.2
ACTIVE = ("queued", "running")


def admin_client(address: str, data: Path) -> RestClient:
    """Return a client of the instance that runs on `data`, with its first key."""
    return RestClient(address, (data / "admin-key").read_text(encoding="ascii").strip())


def csv_of(urls: Sequence[str]) -> str:
    """Return a content in which each image is a separate object, the same one in every content."""
    return "".join(f"{url},https://repo.example.org{urlsplit(url).path}\n" for url in urls)


def create_filled(client: RestClient, name: str, urls: Sequence[str]) -> int:
    """Create a collection in which each image is a separate object, and return its id."""
    collection = client.create(name)
    client.upload(collection, csv_of(urls))
    return collection


def finetune(
    client: RestClient,
    collection: int,
    *,
    force: bool = False,
    poll_seconds: float = POLL_SECONDS,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Finetune a collection and wait until it is done. Raises SystemExit if it fails.

    watch: gets the information about the collection again and again.
    """
    client.finetune(collection, force=force)
    while (info := client.info(collection))["finetuning_state"] in ACTIVE:
        if watch:
            watch(info)
        time.sleep(poll_seconds)
    require_done(info)


def require_done(info: Mapping[str, Any]) -> None:
    """Raise SystemExit unless the newest finetune of a collection is done."""
    if info["finetuning_state"] != "done":
        raise SystemExit(f"the finetune ended as {info['finetuning_state']}: {info['finetuning_error']}")


class PhaseLog:
    """The seconds of the phases of finetunes, from the log of the trainer. It begins now."""

    def __init__(self, data: Path) -> None:
        """data: the instance's data directory."""
        self._file = data / "logs" / "trainer.log"
        self._read = self._file.stat().st_size if self._file.exists() else 0

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase that has ended since the last call, in their order."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        # The last line may not be complete yet.
        new = new[: new.rfind(b"\n") + 1]
        self._read += len(new)
        found: dict[str, float] = {}
        for line in new.decode().splitlines():
            if '"phase_done"' in line:
                event = json.loads(line)
                found[event["phase"]] = found.get(event["phase"], 0.0) + float(event["seconds"])
        return found
