"""Further replicas of a service, on the stores of a running instance, which they may reach by proxies."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.running_instance import until
from tests.ports import free_port
from tests.reliability.parts.proxy import Proxy, running_proxy
from tests.reliability.parts.rest import Rest
from tests.reliability.parts.stored import Stored

POSTGRES = "postgres/.s.PGSQL.5432"
START_SECONDS = 90.0


@dataclass
class Replica:
    """A running replica. log: the file that it logs to."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        return events_in(self.log)


def events_in(log: Path) -> list[dict[str, Any]]:
    """Return the events in a log."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def outcomes(log: Path) -> Counter[str]:
    """Return how often attempts at a job ended in each way, according to a trainer's log."""
    return Counter(event["outcome"] for event in events_in(log) if event["event"] == "attempt_ended")


@dataclass(frozen=True)
class Proxies:
    """Proxies of the stores of an instance. settings: of a service that uses them."""

    postgres: Proxy
    qdrant: Proxy
    embedder: Proxy
    settings: Mapping[str, str]


@contextmanager
def proxied(stored: Stored, folder: Path) -> Iterator[Proxies]:
    """Run proxies of all stores of an instance while entered. folder: for their sockets; its path must be short."""
    (folder / "postgres").mkdir()
    with ExitStack() as stack:

        def proxy(name: str) -> Proxy:
            return stack.enter_context(running_proxy(str(stored.sockets / name), folder / name))[0]

        yield Proxies(proxy(POSTGRES), proxy("qdrant.sock"), proxy("embedder.sock"), settings(stored, folder))


def settings(stored: Stored, sockets: Path | None = None) -> dict[str, str]:
    """Return the settings of a replica. sockets: where those of the stores are; by default, the instance's own."""
    folder = stored.sockets if sockets is None else sockets
    return {
        "SIMILIS_DATABASE_URL": stored.database_url.replace(str(stored.sockets), str(folder)),
        "SIMILIS_QDRANT_ADDRESS": f"unix:{folder / 'qdrant.sock'}",
        "SIMILIS_EMBEDDER_ADDRESS": f"unix:{folder / 'embedder.sock'}",
        "SIMILIS_TRAINER_ADDRESS": f"unix:{stored.sockets / 'trainer.sock'}",
        "SIMILIS_ALLOW_PRIVATE_ADDRESSES": "true",
        "SIMILIS_DRAIN_SECONDS": "0",
        "SIMILIS_SHUTDOWN_GRACE_SECONDS": "1",
    }


@contextmanager
def replica(service: str, ready: str, log: Path, environment: Mapping[str, str]) -> Iterator[Replica]:
    """Run a service while entered. ready: the event that it logs when it is."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", service],
            stderr=output,
            env={**os.environ, "SIMILIS_LOG_FORMAT": "json", **environment},
        )
    found = Replica(process, log)
    try:
        until(
            lambda: any(event["event"] == ready for event in found.events()) or process.poll() is not None,
            START_SECONDS,
        )
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield found
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def gateway_replica(folder: Path, key: str, environment: Mapping[str, str]) -> Iterator[tuple[Rest, Replica]]:
    """Run another gateway while entered, and yield a client of it."""
    port = free_port()
    own = {"SIMILIS_PORT": str(port), "SIMILIS_SPOOL_DIRECTORY": str(folder)}
    with replica("gateway", "gateway_listening", folder / "gateway.log", {**environment, **own}) as running:
        yield Rest(f"http://127.0.0.1:{port}", key), running
