from pathlib import Path

import pytest
import torch

from embedder.backbones.folder import folder_source
from embedder.backbones.vision_model import load_vision_model
from embedder.engines.cuda_engine import half_precision
from tests.integration.embedder.models.checkpoints import save_checkpoint


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_half_precision_keeps_the_vectors(kind: str, tmp_path: Path) -> None:
    model = load_vision_model(folder_source(kind, save_checkpoint(kind, tmp_path)))
    probe = torch.randint(0, 256, (2, 56, 56, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(probe)
        half = half_precision(model, probe, torch.device("cpu"))
        found = half(probe)
        # The original model still computes in float32.
        assert torch.equal(model(probe), expected)
    assert next(half.parameters()).dtype in (torch.float16, torch.bfloat16)
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.99
