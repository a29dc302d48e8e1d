"""The metrics of all processes of an instance, at one address."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from servicekit.telemetry.logs import get_logger
from servicekit.telemetry.metrics import new_registry, show_free_disk

log = get_logger(__name__)

ANSWER_SECONDS = 5.0
SERVICE = "service"


class InstanceMetrics:
    """Asks each service over its socket, and tells their metrics apart by the label `service`."""

    def __init__(self, sockets: Mapping[str, Path], data: Path) -> None:
        """sockets: by service, where its metrics are. data: the data directory."""
        self._sockets = sockets
        self._own = new_registry("standalone")
        show_free_disk(self._own, {"data": data})

    async def exposition(self) -> bytes:
        """All of it in Prometheus' text format. A service that does not answer is missing, and its process is down."""
        answers = await asyncio.gather(*(_asked(name, socket) for name, socket in self._sockets.items()))
        texts = dict(zip(self._sockets, answers, strict=True))
        up = Metric("similis_process_up", "1 when the process of the service showed its metrics, else 0.", "gauge")
        for name, text in texts.items():
            up.add_sample(up.name, {SERVICE: name}, float(text is not None))
        texts["standalone"] = generate_latest(self._own).decode()
        merged = _merged({name: text for name, text in texts.items() if text is not None})
        return await asyncio.to_thread(_text, [*merged, up])


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _merged(texts: Mapping[str, str]) -> list[Metric]:
    """The families of all texts, each once, with whose sample is whose."""
    families: dict[str, Metric] = {}
    for service, text in texts.items():
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                merged.add_sample(sample.name, {SERVICE: service, **sample.labels}, sample.value)
    return list(families.values())


def _text(families: list[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


async def _asked(name: str, socket: Path) -> str | None:
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://localhost/metrics") as answer,
        ):
            answer.raise_for_status()
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("metrics_missing", child=name, reason=repr(error))
        return None
