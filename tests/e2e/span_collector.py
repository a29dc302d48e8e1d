"""An OTLP collector on loopback that keeps the spans that real processes export."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """An exported span. Ids are hexadecimal. `parent` is empty for the first span of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


@dataclass
class SpanCollector:
    """The spans that were received, and their raw bytes."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""

    def named(self, service: str, beginning: str) -> list[Span]:
        """Return the spans of a service whose names start with `beginning`."""
        return [span for span in self.spans if span.service == service and span.name.startswith(beginning)]

    async def take(self, request: web.Request) -> web.Response:
        """Handle an export."""
        body = await request.read()
        self.raw += body
        export = ExportTraceServiceRequest.FromString(body)
        for resource in export.resource_spans:
            (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {a.key: a.value.string_value or str(a.value.int_value) for a in span.attributes}
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    self.spans.append(Span(service, span.name, *ids, attributes))
        return web.Response()


@asynccontextmanager
async def span_collector() -> AsyncIterator[SpanCollector]:
    """Run a collector while entered."""
    collector = SpanCollector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
