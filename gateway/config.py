"""What the gateway can be told; each field is read from SIMILIS_<FIELD>."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from servicekit.settings import RpcSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class GatewaySettings(RpcSettings):
    """Addresses, limits and habits of one gateway process."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    metrics_host: str = "127.0.0.1"
    # None: `/metrics` is a route of the port above. With a port (0: a free one) it is there, and nowhere else.
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None

    # May say `sslmode=verify-full`; with a file of authorities it is so unless the URL says something else.
    database_url: SecretStr
    database_ca_file: Path | None = None
    database_connections: Count = 16
    qdrant_address: str = "127.0.0.1:6334"
    qdrant_api_key: SecretStr | None = None
    qdrant_tls: bool = False
    # The authorities that Qdrant's certificate may come from; None: the public ones.
    qdrant_ca_file: Path | None = None
    vector_prefix: str = "similis"
    embedder_address: str = "127.0.0.1:9001"
    trainer_address: str = "127.0.0.1:9002"

    # Comma-separated origins, or "*" for all.
    cors_origins: str = "*"
    read_key_required: bool = False

    heidicon_url: str = "https://heidicon.ub.uni-heidelberg.de"
    # Reading an instance ends this long after it began, so that time is left to store what was read.
    heidicon_seconds: Seconds = 40.0
    heidicon_page_bytes: Count = 128 * MIB

    max_name_characters: Count = 200
    max_image_bytes: Count = 20 * MIB
    max_csv_bytes: Count = 256 * MIB
    max_csv_rows: Count = 2_000_000
    request_seconds: Seconds = 30.0
    upload_seconds: Seconds = 55.0

    # Searches that run at once, that wait for their turn, and for how long.
    search_concurrency: Count = 32
    search_queue: Annotated[int, Field(ge=0)] = 64
    search_queue_seconds: Seconds = 5.0
    # Bodies of all searches together, as they lie in memory.
    body_memory_bytes: Count = 256 * MIB
    # Uploads that are received at once, that are processed at once, and that wait for it.
    upload_receivers: Count = 8
    upload_concurrency: Count = 2
    upload_queue: Annotated[int, Field(ge=0)] = 6
    upload_queue_seconds: Seconds = 20.0
    # None: the system's folder for temporary files.
    spool_directory: Path | None = None
    # Where the databases keep their data, if that is on this machine: with less free there, uploads and finetunes are
    # refused.
    data_directory: Path | None = None
    min_free_disk_bytes: Annotated[int, Field(ge=0)] = 1 << 30
    adapter_cache_bytes: Count = 64 * MIB

    @field_validator("heidicon_url")
    @classmethod
    def _is_an_instance(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("expected an http(s) URL without query or fragment")
        return value.rstrip("/")

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call."""
        return frozenset(origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip())
