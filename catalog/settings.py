"""Settings of the services that use Postgres and Qdrant."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from servicekit.grpc.target import grpc_target, ports_of
from servicekit.settings import ServiceSettings

GRPC_PORT, REST_PORT = 6334, 6333
# A port after a host, which may be an IPv6 address in brackets.
_PORT = re.compile(r"(?:^|[^:]|\]):[^:\]]*$")


def qdrant_target(text: str) -> str:
    """Return the gRPC target of an address of Qdrant. Raises ValueError."""
    target = grpc_target(text, default_port=GRPC_PORT)
    if REST_PORT in ports_of(target):
        raise ValueError(
            f"{REST_PORT} is the port of Qdrant's REST API; use that of its gRPC API, by default {GRPC_PORT}"
        )
    return target


def postgres_url(url: SecretStr) -> SecretStr:
    """Return the URL of a Postgres database. Raises ValueError, without the URL, if it is that of something else."""
    parts = urlsplit(url.get_secret_value())
    # asyncpg takes several hosts, each with its port, and a list of ports in the query.
    ports = [host.rpartition(":")[2] for host in parts.netloc.rpartition("@")[2].split(",") if _PORT.search(host)]
    ports += [port for text in parse_qs(parts.query).get("port", ()) for port in text.split(",")]
    if parts.scheme not in ("postgresql", "postgres") or not all(map(str.isdecimal, ports)):
        raise ValueError("expected postgresql://USER:PASSWORD@HOST:5432/DATABASE")
    return url


QdrantTarget = Annotated[str, AfterValidator(qdrant_target)]
VectorPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
PostgresUrl = Annotated[SecretStr, AfterValidator(postgres_url)]


class StoreSettings(ServiceSettings):
    """Settings of every service that uses the databases."""

    database_url: PostgresUrl
    """URL of the Postgres database: `postgresql://user:password@host:5432/similis`. May set `sslmode`."""
    database_ca_file: Path | None = None
    """PEM file with the authorities that sign Postgres' certificate. Implies `sslmode=verify-full`, unless the URL
    sets another mode."""
    qdrant_address: QdrantTarget = f"127.0.0.1:{GRPC_PORT}"
    """Host and gRPC port of Qdrant. `dns:///qdrant-headless:6334` uses all nodes behind a name in turn."""
    qdrant_api_key: SecretStr | None = None
    """API key for Qdrant. The gateway only reads, so a read-only key is enough for it."""
    qdrant_tls: bool = False
    """Connect to Qdrant over TLS."""
    qdrant_ca_file: Path | None = None
    """PEM file with the authorities that sign Qdrant's certificate. Default: the public ones."""
    vector_prefix: VectorPrefix = "similis"
    """Prefix of our collections' names in Qdrant. The trainer removes collections with this prefix that the database
    does not know, so installations that share a Qdrant need different ones."""
