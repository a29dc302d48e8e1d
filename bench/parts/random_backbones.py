"""DINOv2-base and SigLIP 2-base with random weights, which are as fast as trained ones."""

import json
from pathlib import Path

import torch
import transformers

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CROPPED = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
SQUARE = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 224, "width": 224}}


def save_backbone(kind: str, folder: Path) -> Path:
    """Write "dinov2-base" or "siglip2-base" into a folder, and return it."""
    torch.manual_seed(0)
    model, processor = _dinov2() if kind == "dinov2-base" else _siglip2()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def _dinov2() -> tuple[transformers.PreTrainedModel, dict[str, object]]:
    return transformers.Dinov2Model(transformers.Dinov2Config(image_size=224)), {**IMAGENET, **CROPPED, "resample": 3}


def _siglip2() -> tuple[transformers.PreTrainedModel, dict[str, object]]:
    config = transformers.SiglipVisionConfig(image_size=224, patch_size=16)
    return transformers.SiglipVisionModel(config), {**SQUARE, "resample": 2}
