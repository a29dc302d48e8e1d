"""Settings of the gateway. Each field is read from SIMILIS_<FIELD>; its description is for `docs/configuration.md`."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from catalog.settings import StoreSettings
from gateway.audit.client_address import TrustedProxies
from servicekit.download.settings import DownloadSettings
from servicekit.grpc.target import GrpcAddress
from servicekit.settings import RpcSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class GatewaySettings(RpcSettings, StoreSettings, DownloadSettings):
    """Addresses and limits of one gateway process."""

    host: str = "127.0.0.1"
    """Address that the API listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port that the API listens on. 0 picks a free one."""
    metrics_host: str = "127.0.0.1"
    """Address that `/metrics` listens on, if `SIMILIS_METRICS_PORT` is set."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Serve `/metrics` on this port, to everyone who can reach it. 0 picks a free one. Default: on the API's port, to
    programs of this machine only."""

    database_connections: Count = 16
    """The most connections to Postgres."""
    embedder_address: GrpcAddress = "127.0.0.1:9001"
    """gRPC address of the embedder: `dns:///embedder:9001` balances over all replicas behind a name,
    `ipv4:10.0.0.1:9001,10.0.0.2:9001` over a fixed list."""
    trainer_address: GrpcAddress = "127.0.0.1:9002"
    """gRPC address of the trainer, in the same forms."""

    cors_origins: str = "*"
    """Web origins whose pages may call the API, separated by commas; `*` allows all."""
    read_key_required: bool = False
    """Require an API key for reading and searching too."""
    trusted_proxies: str = ""
    """Addresses and networks of the proxies in front of the gateway, separated by commas, such as `127.0.0.1` or
    `10.0.0.0/8`. Requests from them are logged with the client's address that `X-Forwarded-For` has, and count as that
    client's. Without this, all clients behind a proxy are one, and share what one client may use. The addresses in IIIF
    manifests begin as `X-Forwarded-Proto` and `X-Forwarded-Prefix` of such a request say."""

    heidicon_url: str = "https://heidicon.ub.uni-heidelberg.de"
    """Address of the HeidICON (EasyDB) instance."""
    heidicon_seconds: Seconds = 40.0
    """How long a request may read from HeidICON. If that is too short, the trainer reads the tag afterwards. Leave time
    below `SIMILIS_UPLOAD_SECONDS` to store what was read."""
    heidicon_page_bytes: Count = 128 * MIB
    """The most bytes in one page of HeidICON's answer."""

    max_name_characters: Count = 200
    """The longest name of a collection, in characters."""
    max_image_bytes: Count = 20 * MIB
    """The largest image that a search accepts. Set it in the embedder too."""
    max_csv_bytes: Count = 256 * MIB
    """The largest CSV."""
    max_csv_rows: Count = 2_000_000
    """The most rows in a collection."""
    request_seconds: Seconds = 30.0
    """Deadline of a request, except uploads."""
    upload_seconds: Seconds = 55.0
    """Deadline of an upload, and of reading HeidICON."""

    search_concurrency: Count = 32
    """The most searches that run at a time. The gateway runs fewer where more only take longer."""
    search_queue: Annotated[int, Field(ge=0)] = 64
    """How many more searches may wait. Further ones get 429. Before that, a client that causes a longer wait than two
    seconds gets 429 alone."""
    search_queue_seconds: Seconds = 5.0
    """How long a search or another short request may wait before it gets 429."""
    quick_concurrency: Count = 32
    """The most other short requests that run at a time: lists, information, names."""
    quick_queue: Annotated[int, Field(ge=0)] = 256
    """How many more of them may wait. Further ones get 429."""
    download_concurrency: Count = 16
    """How many CSV files are downloaded at a time, at most half of them by one client. Further downloads get 429."""
    max_connections: Annotated[int, Field(ge=0)] = 0
    """The most connections of clients at a time. When there are more, idle ones of the client that has most of them are
    closed first. 0: 4096, or fewer if the limit on open files allows fewer."""
    max_client_connections: Annotated[int, Field(ge=0)] = 0
    """The most connections from one address that is not a trusted proxy. 0: half of all."""
    requests_per_second: Annotated[float, Field(ge=0)] = 0.0
    """The most requests to the API that a client may send per second, over five seconds. 0: any number. A client is an
    API key, or the address of requests without a valid one."""
    body_memory_bytes: Count = 256 * MIB
    """Memory for the bodies of all searches, and the images downloaded for them, together. One image always fits."""
    fetch_image_urls: bool = True
    """Whether a search may name an image by URL, which the gateway then downloads."""
    image_url_seconds: Annotated[float, Field(gt=0, le=10)] = 10.0
    """How long the download of an image that a search names may take."""
    image_url_concurrency: Count = 16
    """How many images that searches name are downloaded at a time, at most a quarter of them from one host. Further
    ones get 429."""
    serve_thumbnails: bool = False
    """Show images on the web page through the gateway, sized down, instead of directly from their hosts: for hosts that
    refuse their images to other sites' pages, and for visitors whom the hosts should not see. Reading must not need a
    key then."""
    thumbnail_concurrency: Count = 8
    """How many images are downloaded for thumbnails at a time, at most six of them from one host."""
    thumbnail_cache_bytes: Count = 256 * MIB
    """Disk space for thumbnails in `SIMILIS_SPOOL_DIRECTORY`. The oldest are removed first."""
    thumbnail_cache_seconds: Seconds = 24 * 3600.0
    """How long a thumbnail is kept before its image is downloaded again."""
    upload_receivers: Count = 8
    """How many uploads are received at a time."""
    upload_concurrency: Count = 2
    """How many uploads are processed at a time."""
    upload_queue: Annotated[int, Field(ge=0)] = 6
    """How many received uploads may wait to be processed. Further ones get 429."""
    upload_queue_seconds: Seconds = 20.0
    """How long a received upload may wait before it gets 429."""
    spool_directory: Path | None = None
    """Folder for uploads in progress. Default: the system's folder for temporary files."""
    data_directory: Path | None = None
    """The databases' data directory, if it is on this machine. When its disk is nearly full, uploads and finetunes
    are refused."""
    min_free_disk_bytes: Annotated[int, Field(ge=0)] = 1 << 30
    """Free space in `SIMILIS_DATA_DIRECTORY` below which uploads and finetunes are refused."""
    adapter_cache_bytes: Count = 64 * MIB
    """Memory for adapters of recently searched collections."""
    held_vector_bytes: Annotated[int, Field(ge=0)] = 64 * MIB
    """Memory for the vectors of small collections that are often searched: up to 20,000 different images, 1 kB each. A
    search in them needs no call of Qdrant, except once a second. Their rows take up to half as much beside it. 0: none
    are held."""
    sample_cache_bytes: Count = 64 * MIB
    """Memory for samples of vectors, with which the scores of searches by text are compared: about 2 MiB for each
    collection that was recently searched by text."""

    @model_validator(mode="after")
    def _serves_thumbnails_without_a_key(self) -> Self:
        if self.serve_thumbnails and self.read_key_required:
            raise ValueError(
                "SIMILIS_SERVE_THUMBNAILS and SIMILIS_READ_KEY_REQUIRED exclude each other: browsers load images "
                "without a key"
            )
        return self

    @field_validator("heidicon_url")
    @classmethod
    def _is_an_instance(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("expected an http(s) URL without query or fragment")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        TrustedProxies.parse(value)
        return value

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies that tell the addresses of clients."""
        return TrustedProxies.parse(self.trusted_proxies)

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may call."""
        return frozenset(origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip())
