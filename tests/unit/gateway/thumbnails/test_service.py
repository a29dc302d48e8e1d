"""Thumbnails of images on hosts: guarded, downloaded once, and never at the cost of the gateway."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr, ValidationError

from gateway.config import GatewaySettings
from gateway.metrics import GatewayMetrics
from gateway.thumbnails import shrinker
from gateway.thumbnails.service import Thumbnails
from servicekit.download.failures import ImageFailed
from servicekit.errors import InvalidRequest
from servicekit.telemetry.metrics import new_registry
from tests.unit.servicekit.download.raw_host import Asked, raw_host, response
from tests.unit.servicekit.test_network_guard import METADATA, NOT_PUBLIC


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURE = jpeg(900, 600)


@asynccontextmanager
async def thumbnails(folder: Path, **settings: Any) -> AsyncIterator[Thumbnails]:
    """Open the thumbnails of a gateway. Private addresses are allowed, unless a test says no."""
    values = {"database_url": "postgresql://u:p@h/d", "serve_thumbnails": True, "allow_private_addresses": True}
    metrics = GatewayMetrics(new_registry("gateway"))
    async with (
        asyncio.timeout(30),
        Thumbnails.open(GatewaySettings(**{**values, **settings}), folder, metrics) as opened,
    ):
        assert opened is not None
        yield opened


async def refusal(opened: Thumbnails, url: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        await opened.get(url, 640)
    return refused.value.code


async def test_an_image_that_many_want_is_downloaded_once_and_sized_down(tmp_path: Path) -> None:
    async with raw_host(lambda _: response(PICTURE)) as host, thumbnails(tmp_path) as opened:
        found = await asyncio.gather(*(opened.get(host.url("/a.jpg"), 640) for _ in range(5)))
        found.append(await opened.get(host.url("/a.jpg"), 640))
        large = await opened.get(host.url("/a.jpg"), 1600)
    assert len(set(found)) == 1
    assert Image.open(io.BytesIO(found[0])).size == (640, 427)
    assert Image.open(io.BytesIO(large)).size == (900, 600)
    assert len(host.asked) == 2


async def test_addresses_that_are_not_public_are_blocked(tmp_path: Path) -> None:
    async with thumbnails(tmp_path, allow_private_addresses=False) as opened:
        for address in NOT_PUBLIC[:4]:
            assert await refusal(opened, f"http://{address}/a.jpg") == "blocked_address"
    async with thumbnails(tmp_path) as opened:
        for address in METADATA[:2]:
            assert await refusal(opened, f"http://{address}/a.jpg") == "blocked_address"


async def test_an_image_that_its_host_refuses_is_not_asked_for_again_at_once(tmp_path: Path) -> None:
    def answer(asked: Asked) -> bytes:
        return response(b"", "403 Forbidden") if asked.target == "/a.jpg" else response(PICTURE[:20])

    async with raw_host(answer) as host, thumbnails(tmp_path) as opened:
        assert [await refusal(opened, host.url("/a.jpg")) for _ in range(2)] == ["forbidden", "forbidden"]
        assert await refusal(opened, host.url("/b.jpg")) == "not_an_image"
    assert len(host.asked) == 2


async def test_an_image_with_a_password_in_its_url_is_not_shown(tmp_path: Path) -> None:
    async with raw_host(lambda _: response(PICTURE)) as host, thumbnails(tmp_path) as opened:
        assert await refusal(opened, host.url("/a.jpg", "me:secret@")) == "thumbnails_not_served"
    assert host.asked == []


async def test_an_image_that_takes_too_long_ends_its_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shrinker.Shrinker.open() as opened:
        assert await opened.shrink(PICTURE, 64)
        monkeypatch.setattr(shrinker, "IMAGE_SECONDS", 0.0)
        with pytest.raises(ImageFailed, match="decode_error"):
            await opened.shrink(PICTURE, 64)
        monkeypatch.undo()
        assert await opened.shrink(PICTURE, 64)


async def test_an_installation_serves_none_by_default(tmp_path: Path) -> None:
    settings = GatewaySettings(database_url=SecretStr("postgresql://u:p@h/d"))
    async with Thumbnails.open(settings, tmp_path, GatewayMetrics(new_registry("gateway"))) as opened:
        assert opened is None


def test_thumbnails_exclude_a_key_for_reading() -> None:
    with pytest.raises(ValidationError, match="SIMILIS_READ_KEY_REQUIRED"):
        GatewaySettings(database_url=SecretStr("postgresql://u:p@h/d"), serve_thumbnails=True, read_key_required=True)
