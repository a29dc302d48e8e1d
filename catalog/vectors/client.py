"""The connection to Qdrant, and the mapping of its errors to service errors."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException

from servicekit.errors import DeadlineExceeded, NoSpace, Overloaded, Unavailable
from servicekit.process.service import StartupError
from servicekit.telemetry.tracing import database_call

DEFAULT_PORT = 6334
CALL_SECONDS = 60


class VectorsMissing(Unavailable):
    """A Qdrant collection that a database row names does not exist."""

    default_code = "vectors_missing"


class QdrantSettings(Protocol):
    """The settings of a service that concern Qdrant."""

    @property
    def qdrant_address(self) -> str: ...

    @property
    def qdrant_api_key(self) -> SecretStr | None: ...

    @property
    def qdrant_tls(self) -> bool: ...

    @property
    def qdrant_ca_file(self) -> Path | None: ...


@dataclass(frozen=True)
class QdrantAddress:
    """The address of Qdrant's gRPC API. authorities: trusted certificate authorities, PEM; None: the public ones."""

    host: str
    grpc_port: int
    tls: bool = False
    api_key: str | None = None
    authorities: bytes | None = None

    @classmethod
    def parse(
        cls, text: str, *, tls: bool = False, api_key: str | None = None, ca_file: Path | None = None
    ) -> "QdrantAddress":
        """Parse "host" or "host:port".

        ca_file: trusted certificate authorities, PEM; None: the public ones. Raises ValueError for an invalid port and
        OSError for a file that cannot be read.
        """
        authorities = None if ca_file is None else ca_file.read_bytes()
        host, colon, port = text.rpartition(":")
        if not colon:
            return cls(text, DEFAULT_PORT, tls, api_key, authorities)
        return cls(host, int(port), tls, api_key, authorities)

    @classmethod
    def from_settings(cls, settings: QdrantSettings) -> "QdrantAddress":
        """Return the address that a service is configured with. Raises StartupError."""
        key = None if settings.qdrant_api_key is None else settings.qdrant_api_key.get_secret_value()
        try:
            return cls.parse(
                settings.qdrant_address, tls=settings.qdrant_tls, api_key=key, ca_file=settings.qdrant_ca_file
            )
        except ValueError:
            raise StartupError("SIMILIS_QDRANT_ADDRESS is not host:port") from None
        except OSError as error:
            raise StartupError(f"SIMILIS_QDRANT_CA_FILE cannot be read: {error.strerror}") from error


@asynccontextmanager
async def open_qdrant(address: QdrantAddress) -> AsyncIterator[AsyncQdrantClient]:
    """Open a client while entered. It connects on first use."""
    client = AsyncQdrantClient(
        host=address.host,
        grpc_port=address.grpc_port,
        prefer_grpc=True,
        https=address.tls,
        api_key=address.api_key,
        check_compatibility=False,
        timeout=CALL_SECONDS,
        grpc_options=None if address.authorities is None else {"root_certificates": address.authorities},
    )
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
        if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
            raise Unavailable("The vector store is not available.", code="qdrant_unavailable") from error
        raise
    except QdrantException as error:
        raise _exhausted(str(error)) from error


def _exhausted(details: str) -> NoSpace | Overloaded:
    if "disk" in details.lower() or "space" in details.lower():
        return NoSpace("The vector store's disk is full.")
    return Overloaded("The vector store is overloaded.")
