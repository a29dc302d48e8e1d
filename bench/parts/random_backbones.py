"""DINOv2-base and SigLIP 2-base in their shapes, with random weights: speed does not depend on what was learned."""

import json
from pathlib import Path

import torch
import transformers

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CROPPED = {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 224, "width": 224}}


def save_backbone(kind: str, folder: Path) -> Path:
    """Writes "dinov2-base" or "siglip2-base" into `folder`."""
    torch.manual_seed(0)
    if kind == "dinov2-base":
        model = transformers.Dinov2Model(transformers.Dinov2Config(image_size=224))
        processor = {**IMAGENET, **CROPPED, "resample": 3}
    else:
        vision = {"image_size": 224, "patch_size": 16}
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**vision))
        processor = {**HALVES, "resample": 2}
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder
