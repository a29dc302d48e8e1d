"""Additions to the contract: what the service says about itself, and its specification."""

import json
from urllib.parse import urljoin

import pytest
import yaml

from servicekit.version import VERSION
from tests.integration.embedder_process import RunningEmbedder
from tests.integration.gateway.api import Api
from tests.integration.gateway.conftest import UNREACHABLE, Launch

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = {
    "/api/openapi.yaml": "application/yaml; charset=utf-8",
    "/api/openapi.json": "application/json; charset=utf-8",
    "/api/docs": "text/html; charset=utf-8",
}


async def test_info_has_the_version_the_backbone_and_the_limits(launch: Launch, embedder: RunningEmbedder) -> None:
    api = await launch(embedder_address=embedder.target, max_csv_rows=7, max_name_characters=9, request_seconds=12.5)
    described = embedder.description
    assert (await api.get("/api/info")).json == {
        "name": "similis",
        "version": VERSION,
        "backbone": {
            "name": described.backbone,
            "checksum": described.checksum,
            "dimension": described.dimension,
            "text": False,
        },
        "limits": {
            "max_name_characters": 9,
            "max_image_bytes": 20 * 1024 * 1024,
            "max_num_results": 1000,
            "max_csv_bytes": 256 * 1024 * 1024,
            "max_csv_rows": 7,
            "request_seconds": 12.5,
            "upload_seconds": 55.0,
        },
        "read_key_required": False,
        "thumbnails": False,
    }


async def test_the_service_is_described_without_a_key_and_without_any_other_part(launch: Launch) -> None:
    api = await launch(
        read_key_required=True, database_url=f"postgresql://x@{UNREACHABLE}/x", qdrant_address=UNREACHABLE
    )
    assert (await api.get("/api/collection/list")).status == 503
    info = await api.get("/api/info")
    assert (info.status, info.json["backbone"], info.json["read_key_required"]) == (200, None, True)
    for path, content_type in FILES.items():
        answer = await api.get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)


async def test_the_specification_is_the_same_as_yaml_and_as_json(api: Api) -> None:
    as_yaml, as_json = await api.get("/api/openapi.yaml"), await api.get("/api/openapi.json")
    assert yaml.safe_load(as_yaml.body) == json.loads(as_json.body)
    assert as_json.json["openapi"].startswith("3.1.")


@pytest.mark.parametrize("prefix", ["", "/similis"])
async def test_the_server_of_the_specification_is_right_below_any_path(api: Api, prefix: str) -> None:
    """Clients resolve the server's URL against that of the document (OpenAPI 3.1, 4.8.5)."""
    for path in ("/api/openapi.yaml", "/api/openapi.json"):
        [server] = yaml.safe_load((await api.get(path)).body)["servers"]
        address = urljoin(f"https://www.example.org{prefix}{path}", server["url"])
        assert address.rstrip("/") == f"https://www.example.org{prefix}"


@pytest.mark.parametrize("path", FILES)
async def test_a_client_that_has_the_newest_version_gets_none_again(api: Api, path: str) -> None:
    first = await api.get(path)
    etag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "no-cache"
    again = await api.get(path, headers={"If-None-Match": etag})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert (await api.get(path, headers={"If-None-Match": '"older"'})).body == first.body
    head = await api.call("HEAD", path)
    assert (head.status, head.headers["ETag"], head.body) == (200, etag, b"")


async def test_the_page_forbids_the_browser_everything_but_its_own_style(api: Api) -> None:
    answer = await api.get("/api/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_a_misspelt_route_of_the_service_is_suggested(api: Api) -> None:
    problem = (await api.get("/api/openapi.yml")).refused(404, "route_not_found")
    assert "Did you mean GET /api/openapi.yaml?" in problem["message"]
