"""The metrics of all processes of an instance, merged at one address."""

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

FETCH_SECONDS = 5.0
SERVICE = "service"


class InstanceMetrics:
    """Reads each service's metrics from its socket and labels them with `service`."""

    def __init__(self, sockets: Mapping[str, Path], data: Path) -> None:
        """sockets: the metrics socket of each service. data: the data directory, whose free space is a metric."""
        self._sockets = sockets
        self._own = new_registry("standalone")
        show_free_disk(self._own, "data", data)

    async def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format.

        A service that does not respond is left out, and its `similis_process_up` is 0.
        """
        fetched = await asyncio.gather(*(_fetch(name, socket) for name, socket in self._sockets.items()))
        texts = dict(zip(self._sockets, fetched, strict=True))
        up = Metric("similis_process_up", "1 if the service's process returned its metrics, otherwise 0.", "gauge")
        for name, text in texts.items():
            up.add_sample(up.name, {SERVICE: name}, float(text is not None))
        texts["standalone"] = generate_latest(self._own).decode()
        merged = _merge({name: text for name, text in texts.items() if text is not None})
        return await asyncio.to_thread(_render, [*merged, up])


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _merge(texts: Mapping[str, str]) -> list[Metric]:
    """Return each metric family once, with the samples of all services."""
    families: dict[str, Metric] = {}
    for service, text in texts.items():
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                merged.add_sample(sample.name, {SERVICE: service, **sample.labels}, sample.value)
    return list(families.values())


def _render(families: list[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


async def _fetch(name: str, socket: Path) -> str | None:
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://localhost/metrics") as response,
        ):
            response.raise_for_status()
            return await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("metrics_fetch_failed", child=name, reason=repr(error))
        return None
