"""A server that checks API keys as Qdrant does. The one-machine Qdrant has no keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from qdrant_client import grpc as qdrant

KEY, READ_ONLY_KEY = "the-key", "the-read-only-key"
# Qdrant answers this call without a key.
OPEN = "/qdrant.Qdrant/HealthCheck"
READS = ("/qdrant.Collections/List", "/qdrant.Points/Query")
ANSWERS = {
    OPEN: qdrant.HealthCheckReply(title="qdrant - vector search engine", version="1.17.1").SerializeToString(),
}


class KeyedQdrant(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Refuse calls without the right key, and answer the others with an empty message."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of any call."""
        method = handler_call_details.method
        metadata = {str(key): str(value) for key, value in handler_call_details.invocation_metadata or ()}
        key = metadata.get("api-key")

        async def answer(_: bytes, context: Any) -> bytes:
            if method != OPEN:
                if key not in (KEY, READ_ONLY_KEY):
                    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
                if key == READ_ONLY_KEY and method not in READS:
                    await context.abort(
                        grpc.StatusCode.PERMISSION_DENIED, "Forbidden: Global manage access is required"
                    )
            return ANSWERS.get(method, b"")

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def keyed_qdrant() -> AsyncIterator[str]:
    """Run such a server while entered, and yield its address."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((KeyedQdrant(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
