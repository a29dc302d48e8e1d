"""Small checkpoints with random weights, saved like published ones: a folder of configuration and safetensors."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

# The types are those of the arguments of transformers' configurations, which take almost anything.
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 56,
    "patch_size": 14,
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 99,
    "max_position_embeddings": 16,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 1,
}
# The words of the tokenizer, by token.
WORDS = ("<unk>", "<pad>", "<bos>", "<eos>", "a", "photo", "of", "red", "green", "blue", "coin", "horse", "old", "map")
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


def _vit() -> hf.PreTrainedModel:
    return hf.ViTModel(hf.ViTConfig(**VISION), add_pooling_layer=False)


def _dinov2() -> hf.PreTrainedModel:
    return hf.Dinov2Model(hf.Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56))


def _dinov3() -> hf.PreTrainedModel:
    return hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**VISION, num_register_tokens=4))


def _clip() -> hf.PreTrainedModel:
    return hf.CLIPModel(hf.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=24))


def _siglip() -> hf.PreTrainedModel:
    return hf.SiglipModel(hf.SiglipConfig(vision_config=VISION, text_config=TEXT))


def _tipsv2() -> hf.PreTrainedModel:
    vision = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    return hf.Tipsv2Model(hf.Tipsv2Config(vision_config=vision, text_config=TEXT))


def _convnext() -> hf.PreTrainedModel:
    return hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]))


# By kind: the model, the type of its image processor, and the configuration of that. SigLIP 2 with a fixed resolution
# is published with the model type of SigLIP.
CHECKPOINTS: dict[str, tuple[Callable[[], hf.PreTrainedModel], str, dict[str, Any]]] = {
    "vit": (_vit, "ViTImageProcessor", EXACT),
    "dinov2": (_dinov2, "BitImageProcessor", CROPPED),
    "dinov3": (_dinov3, "DINOv3ViTImageProcessorFast", EXACT),
    "clip": (_clip, "CLIPImageProcessor", CROPPED),
    "siglip": (_siglip, "SiglipImageProcessor", {**EXACT, "resample": 3}),
    "siglip2": (_siglip, "SiglipImageProcessor", EXACT),
    "tipsv2": (_tipsv2, "Tipsv2ImageProcessor", {**EXACT, "do_normalize": False}),
    "convnext": (_convnext, "ConvNextImageProcessor", CONVNEXT),
}


def save_checkpoint(kind: str, folder: Path) -> Path:
    """Write a checkpoint of this kind, and return its folder."""
    build, processor_type, processor = CHECKPOINTS[kind]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build().eval().save_pretrained(folder)
    configuration = {"image_processor_type": processor_type, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    return folder


def save_text_checkpoint(kind: str, folder: Path) -> Path:
    """Write a checkpoint with a text tower and a tokenizer that knows WORDS, and return its folder."""
    save_checkpoint(kind, folder)
    tokenizer = Tokenizer(WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(WORDS[token], token) for token in (2, 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    # The class of SigLIP's tokenizer needs a library that we do not install. Its file has all that it does.
    names = {"clip": "CLIPTokenizer", "siglip": "SiglipTokenizer", "siglip2": "GemmaTokenizer"}
    special = {"unk_token": WORDS[0], "pad_token": WORDS[1], "bos_token": WORDS[2], "eos_token": WORDS[3]}
    configuration = {"tokenizer_class": names.get(kind, "Tipsv2Tokenizer"), **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    return folder
