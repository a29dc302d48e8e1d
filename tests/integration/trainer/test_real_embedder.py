"""A finetune with the real embedder, in a process of its own."""

import io
import struct
import zlib

import pytest
from PIL import Image

from catalog.jobs import JobState
from tests.eventually import eventually
from tests.integration.embedder_process import running_embedder
from tests.integration.trainer.conftest import Trainers
from tests.integration.trainer.parts.faults import body, half_a_jpeg
from tests.integration.trainer.parts.image_host import ImageHost
from tests.integration.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = 60


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """Return a small PNG that claims to have 400 megapixels."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.usefixtures("nothing_to_learn")
async def test_a_killed_embedder_only_delays_a_finetune_and_bad_images_fail_alone(
    trainers: Trainers, workplace: Workplace, host: ImageHost
) -> None:
    gif = io.BytesIO()
    Image.new("P", (30, 30)).save(gif, "GIF")
    host.answers |= {
        "page": body(b"<html>no image</html>"),
        "half": body(half_a_jpeg()),
        "bomb": body(bomb()),
        "gif": body(gif.getvalue()),
    }
    urls = [host.url("page"), host.url("half"), host.url("bomb"), host.url("gif"), *host.picture_urls(IMAGES)]
    job = await workplace.finetune(await workplace.collection(urls))
    # Slow enough for a kill halfway.
    host.delay = 0.1
    async with (
        running_embedder(workers="1") as first,
        trainers.running(embedder_address=first.target, downloads_per_host=4, lease_seconds=10.0),
    ):
        await eventually(lambda: len(host.pictures_served) > IMAGES // 2)
        first.process.kill()
        await first.process.wait()
        async with running_embedder(workers="1", listen=first.target) as second:
            job = await trainers.ended(job)
            backbone = second.description.checksum
    assert (job.state, job.error_message) == (JobState.DONE, None)
    _, index = await workplace.indexes.live(job.collection_id)
    assert index is not None
    assert (index.backbone, index.dim) == (backbone, 256)
    counts = await workplace.indexes.failure_counts(index.id)
    assert counts == {"web_page": 1, "decode_error": 1, "image_too_large": 1}
    assert await workplace.rows("SELECT image_count FROM indexes WHERE id = $1", index.id) == [(IMAGES + 1,)]
    assert set(host.pictures_served.values()) == {1}
