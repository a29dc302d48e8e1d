"""What the service says about itself over HTTP: info, the specification, and a page to read it."""

from dataclasses import asdict, dataclass
from http import HTTPStatus

from aiohttp import web

from gateway.about.specification import Asset, LazySpecification
from gateway.http import parameters
from gateway.http.responses import data
from gateway.upstreams.embedder import QueryEmbedder
from servicekit.version import VERSION

# The file changes only with a release, but a client that has it must notice that at once.
CACHE_CONTROL = "no-cache"


@dataclass(frozen=True)
class Limits:
    """The configured limits that a client can run into. Sizes in bytes."""

    max_name_characters: int
    max_image_bytes: int
    max_num_results: int
    max_csv_bytes: int
    max_csv_rows: int
    request_seconds: float
    upload_seconds: float


class AboutHandlers:
    """The routes that describe the service. They need neither a key nor a database."""

    def __init__(self, *, embedder: QueryEmbedder, limits: Limits, read_key_required: bool) -> None:
        self._embedder = embedder
        self._limits = limits
        self._read_key_required = read_key_required
        self._specification = LazySpecification()

    async def info(self, request: web.Request) -> web.Response:
        """`GET /api/info`. The backbone is null while the embedder does not respond."""
        backbone = await self._embedder.served()
        described = {
            "name": "similis",
            "version": VERSION,
            "backbone": None if backbone is None else asdict(backbone),
            "limits": asdict(self._limits),
            "read_key_required": self._read_key_required,
        }
        return data(described, warnings=parameters.unknown_parameters(request.query))

    async def openapi_yaml(self, request: web.Request) -> web.Response:
        """`GET /api/openapi.yaml`."""
        return _file(request, (await self._specification.get()).yaml)

    async def openapi_json(self, request: web.Request) -> web.Response:
        """`GET /api/openapi.json`."""
        return _file(request, (await self._specification.get()).json)

    async def docs(self, request: web.Request) -> web.Response:
        """`GET /api/docs`: the specification as a page."""
        return _file(request, (await self._specification.get()).page)


def _file(request: web.Request, asset: Asset) -> web.Response:
    """Return the asset; 304 if the client has it already."""
    known = any(tag.value in (asset.etag, "*") for tag in request.if_none_match or ())
    if known:
        response = web.Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8")
        response.enable_compression()
        response.headers.extend(asset.headers)
    # Compressed or not, it is the same file: a weak tag (RFC 9110, 8.8.1).
    response.headers["ETag"] = f'W/"{asset.etag}"'
    response.headers["Cache-Control"] = CACHE_CONTROL
    response.headers["Vary"] = "Accept-Encoding"
    return response
