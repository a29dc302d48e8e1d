"""Preprocessing is the same as in the model's own image processor."""

from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image

from embedder.backbones.folder import folder_source
from embedder.decoding.resize import resize_and_crop
from tests.integration.embedder.models.checkpoints import save_checkpoint
from tests.unit.embedder.decoding.photographs import photograph

PIL_PROCESSORS = {
    "vit": "ViTImageProcessorPil",
    "dinov2": "BitImageProcessorPil",
    "clip": "CLIPImageProcessorPil",
    "siglip": "SiglipImageProcessorPil",
    "convnext": "ConvNextImageProcessorPil",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", PIL_PROCESSORS)
@pytest.mark.parametrize("size", [(500, 360), (361, 777), (40, 90)])
def test_preprocessing_equals_the_processor_of_the_model(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    folder = save_checkpoint(kind, tmp_path)
    source = folder_source(kind, folder)
    processor = getattr(transformers, PIL_PROCESSORS[kind]).from_pretrained(folder)
    image = photograph("coffee.png").resize(size, Image.Resampling.BICUBIC)
    expected = processor(image, return_tensors="np")["pixel_values"][0]
    mean, std = np.array(source.preprocessing.mean, np.float32), np.array(source.preprocessing.std, np.float32)
    found = ((resize_and_crop(image, source.preprocessing) - mean) / std).transpose(2, 0, 1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.02
