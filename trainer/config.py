"""Settings of the trainer. Each field is read from SIMILIS_<FIELD>; its description is for `docs/configuration.md`."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveFloat

from catalog.settings import StoreSettings
from servicekit.download.settings import DownloadSettings
from servicekit.grpc.target import GrpcAddress
from servicekit.settings import RpcServerSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TrainerSettings(RpcServerSettings, StoreSettings, DownloadSettings):
    """Addresses and limits of one trainer process."""

    listen: str = "127.0.0.1:9002"
    """Host and port of the gRPC server, or `unix:PATH`."""
    metrics_host: str = "127.0.0.1"
    """Address that `/metrics` listens on, if `SIMILIS_METRICS_PORT` is set."""
    metrics_port: Port | None = None
    """Serve `/metrics` on this port. 0 picks a free one. Default: no metrics over HTTP."""

    database_connections: Count = 10
    """The most connections to Postgres."""
    embedder_address: GrpcAddress = "127.0.0.1:9001"
    """gRPC address of the embedder: `dns:///embedder:9001` balances over all replicas behind a name,
    `ipv4:10.0.0.1:9001,10.0.0.2:9001` over a fixed list."""

    concurrent_jobs: Count = 1
    """How many finetunes run at a time."""
    concurrent_readings: Count = 1
    """How many sources of collections are read at a time."""
    waiting_jobs: Annotated[int, Field(ge=0)] = 4
    """How many finetunes, and how many readings, may wait for slow hosts besides those that run."""
    poll_seconds: PositiveFloat = 5.0
    """How often an idle trainer looks for jobs that it was not notified of."""
    lease_seconds: Annotated[float, Field(ge=1.0)] = 30.0
    """How long a job stays claimed after its trainer was last heard of."""
    patience_seconds: PositiveFloat = 600.0
    """How long a job waits for a database or an embedder that does not respond before it fails."""
    max_transient_failures: Share = 0.5
    """A finetune fails when more than this share of its rows failed for transient reasons."""
    max_refresh_removals: Share = 0.1
    """A refresh fails when it would remove more than this share of the rows from the index, unless it is forced."""

    learning_threads: Count | None = None
    """Threads for training an adapter. Default: half of the available cores; the embedder uses the others."""

    max_image_bytes: Count = 20 * MIB
    """The largest image that is downloaded. Set it in the embedder too."""
    download_concurrency: Count = 32
    """How many images are downloaded at a time."""
    downloads_per_host: Count = 8
    """The most images that are downloaded from one host at a time. Slow hosts, and hosts that refuse requests, get
    fewer."""
    download_attempts: Count = 3
    """How often the download of an image may fail. Waiting for its host is no failure."""
    download_seconds: PositiveFloat = 300.0
    """How long one attempt at an image may take, without the time that it waits for its host's turn."""
    download_patience_seconds: PositiveFloat = 300.0
    """How long a host may keep asking us to wait until its images fail, and the longest pause that it gets."""

    kept_images_directory: Path | None = None
    """Folder for the images of a first finetune that are still needed for learning, at most 1 GiB of them. Default: a
    folder of this user in the temporary folder."""

    max_document_bytes: Count = 32 * MIB
    """The largest manifest, or page of records, that is read from a source."""
    max_source_images: Count = 2_000_000
    """The most images that a source may have."""

    index_grace_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    """How long a replaced index stays for searches that began before."""
    content_grace_seconds: Annotated[float, Field(ge=0.0)] = 3600.0
    """How long the images of a replaced CSV stay, and its bytes after three newer CSVs."""
    janitor_seconds: PositiveFloat = 30.0
    """How often leftovers are removed."""


def learning_environment() -> dict[str, str]:
    """Return the environment of learning processes.

    Threads sleep while they wait for each other. By default they keep a core busy, and if another process needs that
    core, one of them waits in vain for the other: beside busy processes, a training step took 45 times as long.
    """
    return {**os.environ, "OMP_WAIT_POLICY": "passive"}
