"""What operators and the curious ask: health, readiness, metrics, and what this is."""

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.http.responses import data
from gateway.upstreams.readiness import Readiness
from servicekit.telemetry.metrics import render
from servicekit.version import VERSION


class StatusHandlers:
    """The routes outside of the API."""

    def __init__(self, *, readiness: Readiness, registry: CollectorRegistry) -> None:
        self._readiness = readiness
        self._registry = registry

    async def about(self, _: web.Request) -> web.Response:
        """`GET /`."""
        return data({"name": "similis", "version": VERSION})

    async def healthy(self, _: web.Request) -> web.Response:
        """`GET /healthz`: the process answers."""
        return data({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """`GET /readyz`: 200 when Postgres, Qdrant and the embedder answer, else 503 that names who does not."""
        parts = await self._readiness.parts()
        ready = all(state == "ok" for state in parts.values())
        response = data({"status": "ready" if ready else "not_ready", "parts": parts})
        if not ready:
            response.set_status(503)
            response.headers["Retry-After"] = "1"
        return response

    async def serves(self, _: web.Request) -> web.Response:
        """`GET /readyz/gateway`: 200 until this gateway is about to end; for load balancers.

        Were the parts asked too, all gateways would leave a balancer together when a part is down, and clients would
        lose what needs no part, and our 503 with `Retry-After` for what does.
        """
        serves = self._readiness.serves()
        response = data({"status": "ready" if serves else "not_ready"})
        if not serves:
            response.set_status(503)
            response.headers["Retry-After"] = "1"
        return response

    async def metrics(self, _: web.Request) -> web.Response:
        """`GET /metrics`, in Prometheus' text format."""
        return render(self._registry)

    async def verify(self, _: web.Request) -> web.Response:
        """`POST /api/verify`: whoever gets here has a valid key."""
        return data({"message": "The API key is valid.", "message_type": "push"})
