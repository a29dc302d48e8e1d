"""What the trainer can be told by environment variables (SIMILIS_ and the name in capitals)."""

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

    # May say `sslmode=verify-full`; with a file of authorities it is so unless the URL says something else.
    database_url: SecretStr
    database_ca_file: Path | None = None
    database_connections: Count = 10
    qdrant_address: str = "127.0.0.1:6334"
    qdrant_api_key: SecretStr | None = None
    qdrant_tls: bool = False
    # The authorities that Qdrant's certificate may come from; None: the public ones.
    qdrant_ca_file: Path | None = None
    # What the names of our collections in Qdrant begin with. The janitor removes those of this prefix that no row of
    # the database names: installations that share a Qdrant need different ones.
    vector_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "similis"
    embedder_address: str = "127.0.0.1:9001"

    concurrent_jobs: Count = 1
    poll_seconds: PositiveFloat = 5.0
    lease_seconds: Annotated[float, Field(ge=1.0)] = 30.0
    # How long a job waits for a part that does not answer before it fails.
    patience_seconds: PositiveFloat = 600.0
    # A job fails when more than this share of its rows failed for reasons that may pass.
    max_transient_failures: Share = 0.5

    # For learning an adapter; None: half of the cores that the process may use, the embedder has the others.
    learning_threads: Count | None = None

    allow_private_addresses: bool = False
    max_image_bytes: Annotated[int, Field(ge=1, le=20 * MIB)] = 20 * MIB
    download_concurrency: Count = 32
    downloads_per_host: Count = 8
    download_attempts: Count = 3
    # For one image, all attempts and pauses together; to connect; between two pieces of an answer.
    download_seconds: PositiveFloat = 120.0
    download_connect_seconds: PositiveFloat = 10.0
    download_read_seconds: PositiveFloat = 20.0
    max_redirects: Annotated[int, Field(ge=0)] = 5

    # How long an index that was replaced may still serve searches that began before.
    index_grace_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    # How long a content that was replaced may still be downloaded.
    content_grace_seconds: Annotated[float, Field(ge=0.0)] = 3600.0
    janitor_seconds: PositiveFloat = 30.0
