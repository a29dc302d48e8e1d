"""Small checkpoints with random weights, saved as the real ones are: a folder with configuration and safetensors."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 56,
    "patch_size": 14,
}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 99,
    "max_position_embeddings": 16,
}
MEAN, STD = [0.48, 0.45, 0.40], [0.26, 0.26, 0.27]
NORMALISED = {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "do_rescale": True, "rescale_factor": 1 / 255}
EXACT = {**NORMALISED, "do_resize": True, "size": {"height": 56, "width": 56}, "resample": 2}
CROPPED = {
    **NORMALISED,
    "do_resize": True,
    "size": {"shortest_edge": 64},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 56, "width": 56},
}
CONVNEXT = {**NORMALISED, "do_resize": True, "size": {"shortest_edge": 64}, "crop_pct": 0.875, "resample": 3}


def _vit() -> Any:
    return hf.ViTModel(hf.ViTConfig(**VISION), add_pooling_layer=False)


def _dinov2() -> Any:
    return hf.Dinov2Model(hf.Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56))


def _dinov3() -> Any:
    return hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**{**VISION, "num_register_tokens": 4}))


def _clip() -> Any:
    return hf.CLIPModel(hf.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=24))


def _siglip() -> Any:
    return hf.SiglipModel(hf.SiglipConfig(vision_config=VISION, text_config=TEXT))


def _siglip2() -> Any:
    """SigLIP 2 with a fixed resolution is published with SigLIP's model type."""
    return hf.SiglipModel(hf.SiglipConfig(vision_config={**VISION, "image_size": 56}, text_config=TEXT))


def _convnext() -> Any:
    return hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]))


CHECKPOINTS: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "vit": (_vit, "ViTImageProcessor", EXACT),
    "dinov2": (_dinov2, "BitImageProcessor", CROPPED),
    "dinov3": (_dinov3, "DINOv3ViTImageProcessorFast", EXACT),
    "clip": (_clip, "CLIPImageProcessor", CROPPED),
    "siglip": (_siglip, "SiglipImageProcessor", {**EXACT, "resample": 3}),
    "siglip2": (_siglip2, "SiglipImageProcessor", EXACT),
    "convnext": (_convnext, "ConvNextImageProcessor", CONVNEXT),
}


def save_checkpoint(kind: str, folder: Path) -> Path:
    """Writes the checkpoint of that kind; gives its folder."""
    build, processor_type, processor = CHECKPOINTS[kind]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build().eval().save_pretrained(folder)
    described = {"image_processor_type": processor_type, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder
