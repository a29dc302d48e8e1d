"""What the service says about itself over HTTP: info, the specification, and a page to read it."""

from dataclasses import asdict, dataclass

from aiohttp import web

from gateway.about.specification import PAGE_HEADERS, LazySpecification
from gateway.http import parameters
from gateway.http.asset import CHECK_EACH_TIME
from gateway.http.responses import data
from gateway.upstreams.embedder import Embedder
from servicekit.version import VERSION


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

    def __init__(self, *, embedder: Embedder, limits: Limits, read_key_required: bool, serves_thumbnails: bool) -> None:
        self._embedder = embedder
        self._limits = limits
        self._read_key_required = read_key_required
        self._serves_thumbnails = serves_thumbnails
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
            "thumbnails": self._serves_thumbnails,
        }
        return data(described, warnings=parameters.unknown_parameters(request.query))

    async def openapi_yaml(self, request: web.Request) -> web.Response:
        """`GET /api/openapi.yaml`."""
        return (await self._specification.get()).yaml.answer(request, CHECK_EACH_TIME)

    async def openapi_json(self, request: web.Request) -> web.Response:
        """`GET /api/openapi.json`."""
        return (await self._specification.get()).json.answer(request, CHECK_EACH_TIME)

    async def docs(self, request: web.Request) -> web.Response:
        """`GET /api/docs`: the specification as a page."""
        response = (await self._specification.get()).page.answer(request, CHECK_EACH_TIME)
        response.headers.update(PAGE_HEADERS)
        return response
