"""The settings of the trainer, as environment variables: SIMILIS_ and the name in capitals."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat, SecretStr

from servicekit.settings import RpcServerSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TrainerSettings(RpcServerSettings):
    """The settings of one trainer process."""

    listen: str = "127.0.0.1:9002"
    metrics_host: str = "127.0.0.1"
    # None: no metrics over HTTP; 0: any free port.
    metrics_port: Port | None = None

    # May contain `sslmode=verify-full`, which is the default once a file of certificate authorities is given.
    database_url: SecretStr
    database_ca_file: Path | None = None
    database_connections: Count = 10
    qdrant_address: str = "127.0.0.1:6334"
    qdrant_api_key: SecretStr | None = None
    qdrant_tls: bool = False
    # The certificate authorities to trust for Qdrant; None: the public ones.
    qdrant_ca_file: Path | None = None
    # How the names of our Qdrant collections begin. The janitor removes those with this prefix that the database does
    # not know, so installations that share a Qdrant need different prefixes.
    vector_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "similis"
    embedder_address: str = "127.0.0.1:9001"

    concurrent_jobs: Count = 1
    poll_seconds: PositiveFloat = 5.0
    lease_seconds: Annotated[float, Field(ge=1.0)] = 30.0
    # How long a job waits for a service that does not answer before it fails.
    patience_seconds: PositiveFloat = 600.0
    # A job fails if more than this share of its rows fails with temporary errors.
    max_transient_failures: Share = 0.5

    # Threads for learning an adapter; None: half of the cores that the process may use, which leaves the rest to the
    # embedder.
    learning_threads: Count | None = None

    allow_private_addresses: bool = False
    max_image_bytes: Annotated[int, Field(ge=1, le=20 * MIB)] = 20 * MIB
    download_concurrency: Count = 32
    downloads_per_host: Count = 8
    download_attempts: Count = 3
    # For one image with all attempts and pauses; for connecting; between two pieces of a response.
    download_seconds: PositiveFloat = 120.0
    download_connect_seconds: PositiveFloat = 10.0
    download_read_seconds: PositiveFloat = 20.0
    max_redirects: Annotated[int, Field(ge=0)] = 5

    # How long a replaced index is kept for searches that began before it was replaced.
    index_grace_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    # How long a replaced content can still be downloaded.
    content_grace_seconds: Annotated[float, Field(ge=0.0)] = 3600.0
    janitor_seconds: PositiveFloat = 30.0
