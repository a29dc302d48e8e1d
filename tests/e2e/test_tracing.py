"""Traces of real processes: one for a search over all hops, one for a finetune, and no private data in them."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from catalog.keys.api_keys import ApiKeys
from catalog.postgres.database import Database
from catalog.vectors.client import Qdrant, QdrantAddress, open_qdrant
from catalog.vectors.generations import Generations
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.grpc.channel import open_channel
from servicekit.telemetry.metrics import RpcClientMetrics
from tests.e2e.service_process import ServiceProcess, gateway_ready, health_port_ready
from tests.e2e.span_collector import Span, SpanCollector, span_collector
from tests.eventually import eventually
from tests.integration.embedder_process import MODEL_CACHE
from tests.integration.gateway.api import api_client
from tests.integration.gateway.indexing import Indexer, content, image_url, picture
from tests.integration.gateway.parts import running_postgres
from tests.integration.qdrant_process import running_qdrant
from tests.ports import free_port

DESCRIBE = "similis.embedder.v1.EmbedderService/Describe"
# Nothing listens there, so a finetune of such images ends soon.
UNREACHABLE = b"http://127.0.0.1:1/a.jpg,https://repo.example.org/a\n"


def ancestors(span: Span, spans: list[Span]) -> list[str]:
    """Return the names of the spans around a span, innermost first."""
    by_id = {found.id: found for found in spans}
    names = []
    while span.parent in by_id:
        span = by_id[span.parent]
        names.append(span.name)
    return names


def check_search(collector: SpanCollector, trace: str) -> None:
    """Check that all hops of a search are in its trace, each inside the one that called it."""
    spans = [span for span in collector.spans if span.trace == trace]
    (request,) = [span for span in spans if span.name == "POST /api/collection/{id}/search"]
    assert (request.service, request.attributes["http.response.status_code"]) == ("similis-gateway", "200")
    (call,) = [span for span in spans if span.name.endswith("/Embed") and span.service == "similis-gateway"]
    assert call.parent == request.id
    (answer,) = [span for span in spans if span.name.endswith("/Embed") and span.service == "similis-embedder"]
    assert answer.parent == call.id
    (query,) = [span for span in spans if span.name == "qdrant query_points"]
    statements = {span.name: span for span in spans if span.attributes.get("db.system.name") == "postgresql"}
    # The statement that reads the rows begins with their collection.
    assert statements.keys() >= {"SELECT collections", "SELECT adapters"}
    for span in (query, *statements.values()):
        assert ancestors(span, spans) == [request.name]


def finetune_spans(collector: SpanCollector) -> list[Span]:
    """Return the spans of the job's trace that have arrived. Empty until the job's own span has."""
    traces = {job.trace for job in collector.named("similis-trainer", "finetune")}
    return [span for span in collector.spans if span.trace in traces]


def check_finetune(collector: SpanCollector) -> None:
    """Check that the job's trace has its phases and no database calls."""
    (job,) = collector.named("similis-trainer", "finetune")
    assert (job.parent, job.attributes["similis.outcome"]) == ("", "failed")
    spans = finetune_spans(collector)
    assert {span.name for span in spans if span.service == "similis-trainer"} == {"finetune", "fetching", DESCRIBE}
    assert [span.name for span in spans if span.service == "similis-embedder"] == [DESCRIBE]


@dataclass(frozen=True)
class TracedSystem:
    """All services as processes that export traces, the collector, and the stores."""

    collector: SpanCollector
    processes: dict[str, ServiceProcess]
    database: Database
    vectors: Qdrant
    embedder_address: str
    url: str


@asynccontextmanager
async def traced_system(folder: Path) -> AsyncIterator[TracedSystem]:
    """Run the system while entered, except the trainer: it would take the job that the test runs itself."""
    embedder_port, embedder_health, trainer_port, trainer_health, port = (free_port() for _ in range(5))
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(span_collector())
        database_url = await stack.enter_async_context(running_postgres(folder / "data"))
        qdrant = await stack.enter_async_context(running_qdrant(folder / "qdrant"))
        database = await stack.enter_async_context(Database.open(database_url))
        client = await stack.enter_async_context(open_qdrant(QdrantAddress(qdrant.address)))
        common = {
            "tracing": "true",
            "database_url": database_url,
            "qdrant_address": f"{qdrant.host}:{qdrant.grpc_port}",
            "embedder_address": f"127.0.0.1:{embedder_port}",
            "trainer_address": f"127.0.0.1:{trainer_port}",
        }
        services = {
            "embedder": (
                {"listen": f"127.0.0.1:{embedder_port}", "health_port": embedder_health, "workers": 1}
                | {"model_cache": MODEL_CACHE},
                health_port_ready(embedder_health),
            ),
            "trainer": (
                {"listen": f"127.0.0.1:{trainer_port}", "health_port": trainer_health, "download_attempts": 1}
                | {"allow_private_addresses": True},
                health_port_ready(trainer_health),
            ),
            "gateway": ({"port": port, "spool_directory": folder}, gateway_ready(url)),
        }
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        processes = {
            name: ServiceProcess(name, {**common, **settings}, ready, folder / f"{name}.log", environment)
            for name, (settings, ready) in services.items()
        }
        for name in ("embedder", "gateway"):
            await stack.enter_async_context(processes[name].running())
        yield TracedSystem(collector, processes, database, client, f"127.0.0.1:{embedder_port}", url)


async def test_a_search_and_a_finetune_have_one_trace_each(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(traced_system(tmp_path))
        collector = system.collector
        key = await ApiKeys(system.database).create("tests")
        channel = await stack.enter_async_context(open_channel(system.embedder_address))
        api = await stack.enter_async_context(api_client(system.url, key))
        embedder = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
        backbone = await embedder.served_backbone()
        assert backbone is not None
        identifier = await api.create("a name of nobody's business")
        (await api.upload(identifier, content(range(8)))).pushed()
        await Indexer(system.database, Generations(system.vectors), embedder, backbone).index(identifier)

        trace = secrets.token_hex(16)
        image = base64.b64encode(picture(1)).decode()
        body = {"image": image, "num_results": 3}
        headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01", "X-Request-Id": "search-1"}
        answer = await api.post(f"/api/collection/{identifier}/search", body, headers=headers)
        assert answer.json["results"][0]["image_url"] == image_url(1)
        await eventually(lambda: bool(collector.named("similis-gateway", "POST /api/collection/{id}/search")))
        await eventually(lambda: any(span.trace == trace for span in collector.named("similis-embedder", "")))
        check_search(collector, trace)

        await stack.enter_async_context(system.processes["trainer"].running())
        other = await api.create()
        (await api.upload_raw(other, UNREACHABLE)).pushed()
        (await api.post(f"/api/collection/{other}/finetune")).pushed()
        # Each process exports its spans in its own time.
        await eventually(lambda: "similis-embedder" in {span.service for span in finetune_spans(collector)})
        check_finetune(collector)

        # No keys, images or parameters of statements were exported.
        assert collector.named("similis-gateway", "POST /api/collection/create")
        for secret in (key, key.partition(".")[2], image[:64], "nobody's business", image_url(1), "a.jpg"):
            assert secret.encode() not in collector.raw
        assert not [span for span in collector.spans if "readyz" in span.name or "Health" in span.name]

        lines = [json.loads(line) for line in system.processes["gateway"].log().splitlines() if line.startswith("{")]
        (logged,) = [line for line in lines if line.get("request_id") == "search-1" and line["event"] == "request"]
        (request,) = [span for span in collector.spans if span.trace == trace and span.name.startswith("POST /api")]
        assert (logged["trace_id"], logged["span_id"]) == (trace, request.id)
