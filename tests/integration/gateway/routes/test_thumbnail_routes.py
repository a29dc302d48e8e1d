"""Thumbnails over HTTP: of the images of a collection, and of nothing else."""

import io

import pytest
from PIL import Image

from tests.integration.gateway.conftest import Launch
from tests.unit.servicekit.download.raw_host import raw_host, response

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_images_of_a_collection_have_thumbnails(launch: Launch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2000, 1000)).save(buffer, "JPEG")
    api = await launch(serve_thumbnails=True, allow_private_addresses=True)
    async with raw_host(lambda _: response(buffer.getvalue())) as host:
        collection, other = await api.create(), await api.create()
        await api.upload(collection, f"{host.url('/a.jpg')},b\n".encode())
        listed = (await api.get(f"/api/collection/{collection}/images")).json["images"]
        path = f"images/{listed[0]['image_id']}/thumbnail"
        for query, size in (("", (640, 320)), ("?size=large", (1600, 800))):
            answer = await api.get(f"/api/collection/{collection}/{path}{query}")
            assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
            assert answer.headers["Cache-Control"] == "public, max-age=86400"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert Image.open(io.BytesIO(answer.body)).size == size
        (await api.get(f"/api/collection/{other}/{path}")).refused(400, "image_not_found")
        (await api.get(f"/api/collection/{collection}/{path}?size=medium")).refused(400, "invalid_size")
    page = await api.get("/", headers={"Accept": "text/html"})
    assert "img-src 'self' blob: data:;" in page.headers["Content-Security-Policy"]
    assert (await api.get("/api/info")).json["thumbnails"] is True
