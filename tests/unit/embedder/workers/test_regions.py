"""The region of a request reaches the decoder of either kind of worker."""

import os

import numpy as np
from PIL import Image

from embedder.backbones.builtin import PREPROCESSING
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.engines.engine import Pixels, Vectors
from embedder.workers.arena import Arena, arena_bytes, open_arena
from embedder.workers.current_request import CurrentRequest
from embedder.workers.decode_handler import DecodeHandler
from embedder.workers.fused_handler import FusedHandler
from embedder.workers.limited_decoding import LimitedDecoding
from embedder.workers.messages import WorkRequest, to_header, to_request
from servicekit.image_region import Region
from tests.unit.embedder.decoding.photographs import encoded

DECODER = Decoder(prepare_pillow(), 50_000_000, PREPROCESSING)
DECODING = LimitedDecoding(DECODER, CurrentRequest(-1), search_seconds=60, bulk_seconds=60)
RED_QUARTER = Region(0.5, 0.5, 0.5, 0.5)
RED = (255, 0, 0)


class MeanColour:
    """An engine whose vector is the mean colour."""

    name, device = "mean", "cpu"

    def embed(self, pixels: Pixels, *, all_cores: bool = False) -> Vectors:  # noqa: ARG002
        vectors: Vectors = pixels.mean(axis=(1, 2)).astype(np.float32)
        return vectors


def image() -> bytes:
    picture = Image.new("RGB", (300, 300), "blue")
    picture.paste(RED, (150, 150, 300, 300))
    return encoded(picture, "PNG")


def test_a_request_keeps_its_region_on_the_way_to_a_worker() -> None:
    for region in (None, Region(0.1, 0.2, 1 / 3, 0.4)):
        request = WorkRequest(1, b"image", region=region)
        assert to_request(to_header(request), b"image") == request


def test_a_worker_that_decodes_and_infers_embeds_the_region() -> None:
    result = FusedHandler(DECODING, MeanColour(), None).handle(WorkRequest(1, image(), region=RED_QUARTER))
    assert tuple(np.frombuffer(result.vectors, "<f4")) == RED


def test_a_worker_that_only_decodes_fills_its_slot_with_the_region() -> None:
    descriptor = open_arena(arena_bytes(1, PREPROCESSING))
    try:
        arena = Arena(descriptor, PREPROCESSING)
    finally:
        os.close(descriptor)
    DecodeHandler(DECODING, arena).handle(WorkRequest(1, image(), slots=[0], region=RED_QUARTER))
    found = np.empty((1, PREPROCESSING.crop_height, PREPROCESSING.crop_width, 3), np.uint8)
    arena.read_into([0], found)
    assert (found == RED).all()
