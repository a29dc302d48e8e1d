"""The embedder in the gateway's process answers as the one at an address does, and ends with the gateway."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
from PIL import Image
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from embedder.config import EmbedderSettings
from embedder.service import EmbeddingService
from gateway.config import GatewaySettings
from gateway.upstreams.embedder import Embedder, QueryEmbedder
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from servicekit.grpc.channel import open_channel
from servicekit.image_region import Region
from servicekit.process.service import StartupError
from servicekit.request_context import request_scope
from servicekit.settings import SettingsError
from servicekit.telemetry.metrics import RpcClientMetrics
from standalone.gateway_and_embedder.app import gateway_and_embedder
from standalone.gateway_and_embedder.local_embedder import LocalEmbedder
from tests.eventually import eventually
from tests.integration.embedder_process import MODEL_CACHE
from tests.ports import free_port
from tests.processes import gone, offspring

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1024 * 1024


def photograph(number: int) -> bytes:
    image = Image.frombytes("RGB", (5, 5), random.Random(number).randbytes(75)).resize((200, 160))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass(frozen=True)
class Both:
    """The same embedder, in this process and at its address. metrics: the socket of its metrics.

    others: workers of other embedders.
    """

    local: LocalEmbedder
    remote: QueryEmbedder
    metrics: Path
    others: Sequence[psutil.Process]

    @property
    def workers(self) -> list[psutil.Process]:
        """Its workers."""
        return [each for each in offspring("embedder.workers") if each not in self.others]

    async def queued(self) -> float:
        """Return how many searches wait for a worker."""
        content = await fetched("/metrics", await asyncio.open_unix_connection(self.metrics))
        (line,) = [each for each in content.splitlines() if each.startswith('embedder_queue_items{lane="interactive"}')]
        return float(line.split()[1])


async def fetched(path: str, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> str:
    """Return the body of an HTTP response, whatever its status."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    await writer.wait_closed()
    return response.decode().partition("\r\n\r\n")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    folder = tmp_path_factory.mktemp("run")
    target, metrics = f"unix:{folder / 'embedder.sock'}", folder / "metrics.sock"
    settings = EmbedderSettings(
        listen=target,
        model_cache=MODEL_CACHE,
        workers=1,
        interactive_workers=1,
        interactive_queue=8,
        max_image_bytes=2 * MIB,
        metrics_host=f"unix:{metrics}",
        metrics_port=0,
    )
    local, stop, others = LocalEmbedder(), asyncio.Event(), offspring("embedder.workers")
    running = asyncio.create_task(local.run(settings, stop))
    try:
        async with open_channel(target) as channel:
            while await local.served() is None:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.02)
            remote = QueryEmbedder(channel, RpcClientMetrics(CollectorRegistry()))
            both = Both(local, remote, metrics, others)
            yield both
            workers = both.workers
    finally:
        stop.set()
        await running
    await eventually(lambda: gone(workers))


@contextmanager
def paused(workers: Iterable[psutil.Process]) -> Iterator[None]:
    with ExitStack() as stack:
        for worker in workers:
            worker.suspend()
            stack.callback(worker.resume)
        yield


async def refusal(embedder: Embedder, image: bytes, backbone: str = "", region: Region | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await embedder.embed(image, backbone, region)
    return refused.value


async def test_both_return_the_same_vectors(both: Both) -> None:
    for region in (None, Region(0.25, 0.25, 0.5, 0.5)):
        local, remote = [await each.embed(photograph(1), "", region) for each in (both.local, both.remote)]
        assert local.shape == (1280,)
        assert local.dtype == remote.dtype
        # How many threads compute it depends on what else runs.
        assert np.allclose(local, remote, rtol=1e-3, atol=1e-3)
    assert not np.allclose(local, await both.local.embed(photograph(2), ""), atol=1e-2)


async def test_both_describe_the_same_backbone(both: Both) -> None:
    served = await both.local.served()
    assert served == await both.remote.served()
    assert served is not None
    assert await both.local.served_backbone() == await both.remote.served_backbone() == served.checksum
    await both.local.check()
    await both.remote.check()


@pytest.mark.parametrize(
    ("image", "backbone", "region", "kind", "code"),
    [
        (b"no image at all", "", None, InvalidRequest, "not_an_image"),
        (photograph(1)[:200], "", None, InvalidRequest, "decode_error"),
        (bytes(2 * MIB + 1), "", None, TooLarge, "image_too_large"),
        (photograph(1), "0" * 64, None, FailedPrecondition, "backbone_changed"),
        (photograph(1), "", Region(0.5, 0.5, 0.9, 0.9), InvalidRequest, "invalid_region"),
    ],
)
async def test_both_refuse_in_the_same_way(
    both: Both, image: bytes, backbone: str, region: Region | None, kind: type[ServiceError], code: str
) -> None:
    local, remote = [await refusal(each, image, backbone, region) for each in (both.local, both.remote)]
    assert (type(local), local.code) == (kind, code)
    assert (type(remote), remote.code, remote.message) == (kind, code, local.message)


async def test_both_refuse_texts_without_a_text_tower(both: Both) -> None:
    for embedder in (both.local, both.remote):
        with pytest.raises(FailedPrecondition) as refused:
            await embedder.embed_text("a coin", "")
        assert refused.value.code == "text_not_supported"


async def test_the_deadline_of_the_request_ends_the_wait(both: Both) -> None:
    with paused(both.workers), request_scope("test", 0.2), pytest.raises(DeadlineExceeded):
        await both.local.embed(photograph(1), "")
    assert (await both.local.embed(photograph(1), "")).shape == (1280,)


async def test_callers_that_leave_free_their_places_in_the_queue(both: Both) -> None:
    with paused(both.workers):
        calls = [asyncio.create_task(both.local.embed(photograph(1), "")) for _ in range(8)]
        await asyncio.sleep(0)
        assert await both.queued() > 0
        for call in calls:
            call.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*calls, return_exceptions=True)
        )
        assert await both.queued() == 0
    assert (await both.local.embed(photograph(1), "")).shape == (1280,)


async def test_a_full_queue_refuses_at_once(both: Both) -> None:
    with paused(both.workers):
        calls = [asyncio.create_task(both.local.embed(photograph(1), "")) for _ in range(40)]
        done, waiting = await asyncio.wait(calls, timeout=0.5)
        assert done
        assert all(isinstance(call.exception(), Overloaded) for call in done)
    assert {vector.shape for vector in await asyncio.gather(*waiting)} == {(1280,)}


async def test_a_killed_worker_fails_no_search(both: Both) -> None:
    victim = both.workers[0]
    calls = [asyncio.create_task(both.local.embed(photograph(number), "")) for number in range(4)]
    await asyncio.sleep(0)
    victim.kill()
    assert {vector.shape for vector in await asyncio.gather(*calls)} == {(1280,)}
    await eventually(lambda: gone([victim]))


async def test_a_defect_of_the_embedder_is_not_told(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("internal detail")

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingService, "embed", broken)
        refused = await refusal(both.local, photograph(1))
    assert (type(refused), refused.code, refused.message) == (
        Unavailable,
        "embedder_unavailable",
        "The embedder is not available.",
    )


async def test_an_embedder_that_has_not_started_is_unavailable() -> None:
    embedder = LocalEmbedder()
    assert (await refusal(embedder, photograph(1))).code == "embedder_unavailable"
    assert (await embedder.served(), await embedder.served_backbone()) == (None, None)
    with pytest.raises(Unavailable):
        await embedder.check()


def settings_of_both(folder: Path, backbone: str = "efficientnet-lite0") -> tuple[GatewaySettings, EmbedderSettings]:
    """Return settings of a gateway without databases, and of an embedder with one worker."""
    gateway = GatewaySettings(
        port=free_port(),
        database_url=SecretStr(f"postgresql://similis@/similis?host={folder}"),
        qdrant_address=f"unix:{folder / 'qdrant.sock'}",
        trainer_address=f"unix:{folder / 'trainer.sock'}",
        spool_directory=folder,
        shutdown_grace_seconds=1.0,
    )
    embedder = EmbedderSettings(
        backbone=backbone,
        listen=f"unix:{folder / 'embedder.sock'}",
        model_cache=MODEL_CACHE,
        workers=1,
        interactive_workers=0,
        shutdown_grace_seconds=1.0,
    )
    return gateway, embedder


async def test_the_gateway_serves_while_the_embedder_starts_and_both_stop_together(tmp_path: Path) -> None:
    others = offspring("embedder.workers")

    async def state() -> str:
        answer = await fetched("/readyz", await asyncio.open_connection(served.host, served.port))
        return str(json.loads(answer)["parts"]["embedder"])

    async with gateway_and_embedder(*settings_of_both(tmp_path)) as served:
        assert await state() == "The embedder is not available."
        while await state() != "ok":  # noqa: ASYNC110 - another task sets it
            await asyncio.sleep(0.05)
        workers = [each for each in offspring("embedder.workers") if each not in others]
        assert workers
    await eventually(lambda: gone(workers))
    assert not (tmp_path / "embedder.sock").exists()


async def test_an_embedder_that_cannot_start_ends_both_with_its_reason(tmp_path: Path) -> None:
    settings = settings_of_both(tmp_path, backbone=str(tmp_path / "nothing"))
    with pytest.raises(SettingsError, match=r"SIMILIS_BACKBONE: .*nothing"):
        async with gateway_and_embedder(*settings):
            await asyncio.sleep(60)


async def test_a_gateway_that_cannot_listen_ends_both_with_its_reason(tmp_path: Path) -> None:
    gateway, embedder = settings_of_both(tmp_path)
    async with gateway_and_embedder(gateway, embedder) as served:
        (tmp_path / "second").mkdir()
        _, second = settings_of_both(tmp_path / "second")
        with pytest.raises(StartupError, match="cannot listen"):
            async with gateway_and_embedder(gateway.model_copy(update={"port": served.port}), second):
                pass
