"""Health, readiness, metrics, version, and whether an API key is valid."""

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.access.key_check import PERMISSIONS
from gateway.access.local_client import is_local
from gateway.http.responses import data, push, timestamp
from gateway.upstreams.readiness import GatewayReadiness
from servicekit.errors import NotFound
from servicekit.telemetry.metrics import render
from servicekit.version import VERSION


class StatusHandlers:
    """The routes that are not about collections."""

    def __init__(self, *, readiness: GatewayReadiness, registry: CollectorRegistry) -> None:
        self._readiness = readiness
        self._registry = registry

    async def about(self, _: web.Request) -> web.Response:
        """`GET /` for clients that do not ask for HTML."""
        return data({"name": "similis", "version": VERSION})

    async def healthy(self, _: web.Request) -> web.Response:
        """`GET /healthz`: always 200, while the process answers."""
        return data({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """`GET /readyz`: 200 when Postgres, Qdrant and the embedder answer; else 503 with the parts that do not."""
        parts = await self._readiness.parts()
        return _status(all(state == "ok" for state in parts.values()), parts=parts)

    async def serves(self, _: web.Request) -> web.Response:
        """`GET /readyz/gateway`: 200 until this gateway shuts down; for load balancers.

        It does not check the parts. Otherwise all gateways would leave the load balancer together when one part is
        down, and clients would get no answer at all instead of a 503 with `Retry-After`.
        """
        return _status(self._readiness.serves())

    async def metrics(self, request: web.Request) -> web.Response:
        """`GET /metrics` on the API's port: in Prometheus' text format, for programs of this machine.

        They show how much is searched and stored, and the API's port may be public. Raises NotFound.
        """
        if not is_local(request):
            raise NotFound(
                "Metrics are served to this machine only, not through a proxy. To scrape them from elsewhere, set "
                "SIMILIS_METRICS_PORT and SIMILIS_METRICS_HOST."
            )
        return render(self._registry)

    async def verify(self, request: web.Request) -> web.Response:
        """`POST /api/verify`: the key has been checked before this is called."""
        allowed = request[PERMISSIONS]
        only = None if allowed.collections is None else sorted(allowed.collections)
        # The existing web client compares this text.
        return push("API key is valid", scope=allowed.scope, collections=only, expires_at=timestamp(allowed.expires_at))


def _status(ready: bool, **fields: object) -> web.Response:
    response = data({"status": "ready" if ready else "not_ready", **fields})
    if not ready:
        response.set_status(503)
        response.headers["Retry-After"] = "1"
    return response
