"""A backbone as a torch module: its vector is the documented output of the model."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from embedder.backbones.folder import folder_source
from embedder.backbones.source import BackboneError
from embedder.backbones.vision_model import load_vision_model
from embedder.decoding.resize import resize_and_crop
from tests.integration.embedder.models.checkpoints import save_checkpoint
from tests.unit.embedder.decoding.photographs import photograph

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("kind", "pooling", "dimension"),
    [("vit", "cls", 32), ("dinov2", "cls", 32), ("clip", "projection", 24), ("convnext", "pooled", 32)],
)
def test_the_vector_is_the_documented_output(kind: str, pooling: str, dimension: int, tmp_path: Path) -> None:
    folder = save_checkpoint(kind, tmp_path)
    source = folder_source(kind, folder)
    assert (source.pooling, source.dimension) == (pooling, dimension)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = torch.from_numpy(resize_and_crop(photograph(), source.preprocessing)[np.newaxis].copy())
    mean, std = torch.tensor(source.preprocessing.mean), torch.tensor(source.preprocessing.std)
    normalised = ((pixels - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        if kind == "clip":
            vision = model.vision_model(pixel_values=normalised).pooler_output
            expected = model.visual_projection(vision)
        else:
            output = model(pixel_values=normalised)
            expected = output.pooler_output if pooling == "pooled" else output.last_hidden_state[:, 0]
        found = load_vision_model(source)(pixels)
    assert torch.allclose(found, expected, atol=1e-5)


def test_damaged_weights_are_reported_in_one_line(tmp_path: Path) -> None:
    source = folder_source("vit", save_checkpoint("vit", tmp_path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BackboneError, match="could not be loaded") as refused:
        load_vision_model(source)
    assert "\n" not in str(refused.value)
