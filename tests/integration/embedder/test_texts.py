"""Texts, against the real service with a small CLIP."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from similis.embedder.v1 import embedder_pb2 as pb

from embedder.backbones.folder import folder_source
from embedder.backbones.text_tower import TextTower
from servicekit.grpc.channel import open_channel
from servicekit.grpc.status import from_rpc_error
from tests.eventually import eventually
from tests.integration.embedder_process import RunningEmbedder
from tests.unit.embedder.decoding.photographs import encoded, photograph

pytestmark = pytest.mark.asyncio(loop_scope="session")
TEXT = "a photo of a red coin"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def channel(clip: RunningEmbedder) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(clip.target) as opened:
        yield opened


async def refusal(clip: RunningEmbedder, channel: grpc.aio.Channel, request: pb.EmbedTextRequest) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await clip.stub(channel).EmbedText(request)
    return from_rpc_error(refused.value, upstream="embedder").code


async def test_texts_and_images_have_vectors_of_one_length(clip: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    assert clip.description.text
    text = await clip.stub(channel).EmbedText(pb.EmbedTextRequest(text=TEXT))
    image = await clip.stub(channel).Embed(pb.EmbedRequest(image=encoded(photograph(), "JPEG")))
    assert len(text.vector) == len(image.vector) == clip.description.dimension * 4
    assert text.backbone_checksum == clip.description.checksum
    assert (list(text.warnings), text.read_characters) == ([], len(TEXT))
    expected = TextTower(folder_source("clip", Path(clip.description.backbone)), threads=1).embed(TEXT).vectors
    assert np.allclose(np.frombuffer(text.vector, "<f4"), expected[0], atol=1e-5)


async def test_a_text_that_is_too_long_for_the_model_says_how_much_counts(
    clip: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    answer = await clip.stub(channel).EmbedText(pb.EmbedTextRequest(text="red " * 100))
    assert (list(answer.warnings), answer.read_characters) == (["truncated"], len("red " * 14) - 1)


async def test_texts_are_refused_with_a_code(clip: RunningEmbedder, channel: grpc.aio.Channel) -> None:
    assert await refusal(clip, channel, pb.EmbedTextRequest(text="  ")) == "invalid_text"
    assert await refusal(clip, channel, pb.EmbedTextRequest(text="x" * 2001)) == "invalid_text"
    assert await refusal(clip, channel, pb.EmbedTextRequest(text="x", backbone_checksum="0")) == "backbone_changed"


async def test_the_process_that_embeds_texts_is_replaced_when_it_dies(
    clip: RunningEmbedder, channel: grpc.aio.Channel
) -> None:
    ready, worker = clip.workers_ready(), max(clip.workers())
    os.kill(worker, signal.SIGKILL)
    # A new process loads torch, which takes long on a busy machine.
    await eventually(lambda: worker not in clip.workers() and clip.workers_ready() == ready, seconds=240)
    answer = await clip.stub(channel).EmbedText(pb.EmbedTextRequest(text=TEXT))
    assert answer.read_characters == len(TEXT)
