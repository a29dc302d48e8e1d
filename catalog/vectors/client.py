"""The connection to Qdrant, and the mapping of its errors to service errors."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast

import grpc
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.connection import header_adder_async_interceptor

from catalog.settings import StoreSettings
from servicekit.connection_failure import ConnectionFailure, failure_in
from servicekit.errors import DeadlineExceeded, NoSpace, Overloaded, Unavailable
from servicekit.grpc.channel import open_foreign_channel
from servicekit.settings import read_authorities
from servicekit.telemetry.tracing import database_call

CALL_SECONDS = 60
# Calls that change nothing are sent again, to another node, when one is UNAVAILABLE.
READS = (
    *(("qdrant.Points", method) for method in ("Query", "Get", "Scroll", "Count")),
    *(("qdrant.Collections", method) for method in ("List", "Get", "CollectionExists")),
)


class VectorsMissing(Unavailable):
    """A Qdrant collection that a database row names does not exist."""

    default_code = "vectors_missing"


@dataclass(frozen=True)
class QdrantAddress:
    """Where Qdrant's gRPC API is, and how to connect to it.

    target: as gRPC takes it. authorities: trusted certificate authorities, PEM; None: the public ones.
    """

    target: str
    tls: bool = False
    api_key: str | None = None
    authorities: bytes | None = None

    @classmethod
    def from_settings(cls, settings: StoreSettings) -> "QdrantAddress":
        """Return the address that a service is configured with. Raises SettingsError."""
        key = None if settings.qdrant_api_key is None else settings.qdrant_api_key.get_secret_value()
        ca_file = settings.qdrant_ca_file
        authorities = None if ca_file is None else read_authorities(ca_file, "QDRANT_CA_FILE")
        return cls(settings.qdrant_address, settings.qdrant_tls, key or None, authorities)


@asynccontextmanager
async def open_qdrant(address: QdrantAddress) -> AsyncIterator[AsyncQdrantClient]:
    """Open a client while entered. It connects on first use."""
    headers = [] if address.api_key is None else [("api-key", address.api_key)]
    channel = open_foreign_channel(
        address.target,
        idempotent=READS,
        credentials=grpc.ssl_channel_credentials(address.authorities) if address.tls else None,
        interceptors=(cast("grpc.aio.ClientInterceptor", header_adder_async_interceptor(headers)),),
    )
    client = AsyncQdrantClient(prefer_grpc=True, check_compatibility=False, timeout=CALL_SECONDS, pool_size=1)
    # The client's own channels use one address only, and know no retries.
    client._client._grpc_channel_pool = [channel]  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield client
    finally:
        await client.close()


@contextmanager
def traced(operation: str) -> Iterator[None]:
    """Add a call to the current trace: its operation and duration, never its content."""
    began, failure = time.perf_counter(), None
    try:
        yield
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        attributes = {"db.system.name": "qdrant", "db.operation.name": operation}
        database_call(f"qdrant {operation}", attributes, time.perf_counter() - began, failure)


@contextmanager
def qdrant_errors() -> Iterator[None]:
    """Map the client's errors to Unavailable, DeadlineExceeded, NoSpace, Overloaded and VectorsMissing."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        status, details = error.code(), error.details() or ""
        if status is grpc.StatusCode.NOT_FOUND:
            raise VectorsMissing("The vectors of this index are missing.") from error
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise DeadlineExceeded("The vector store did not respond in time.") from error
        if status is grpc.StatusCode.DATA_LOSS:
            raise Unavailable("Vectors on disk are damaged.", code="vectors_damaged") from error
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise _exhausted(details) from error
        if status in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise _key_refused(status) from error
        if status is grpc.StatusCode.UNAVAILABLE and (failure := failure_in(details)) is not None:
            raise _cannot_connect(failure) from error
        if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
            raise Unavailable("The vector store is not available.", code="qdrant_unavailable") from error
        raise
    except QdrantException as error:
        raise _exhausted(str(error)) from error


def _key_refused(status: grpc.StatusCode) -> Unavailable:
    if status is grpc.StatusCode.UNAUTHENTICATED:
        message = "The vector store refused the API key: SIMILIS_QDRANT_API_KEY is missing or wrong."
    else:
        message = (
            "The vector store refused the API key: the key in SIMILIS_QDRANT_API_KEY lacks a permission or is wrong."
        )
    return Unavailable(message, code="qdrant_key_refused")


def _cannot_connect(failure: ConnectionFailure) -> Unavailable:
    if failure.is_tls:
        settings = "See SIMILIS_QDRANT_TLS and SIMILIS_QDRANT_CA_FILE."
        message = f"The TLS connection to the vector store failed: {failure.value}. {settings}"
        return Unavailable(message, code="qdrant_tls_failed")
    message = (
        f"The server at SIMILIS_QDRANT_ADDRESS is not Qdrant's gRPC API: {failure.value}. Use its gRPC port, 6334."
    )
    return Unavailable(message, code="qdrant_unavailable")


def _exhausted(details: str) -> NoSpace | Overloaded:
    if "disk" in details.lower() or "space" in details.lower():
        return NoSpace("The vector store's disk is full.")
    return Overloaded("The vector store is overloaded.")
