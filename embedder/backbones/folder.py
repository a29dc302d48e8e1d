"""Read the configuration of a transformers vision model from its folder, without loading the model."""

import json
from pathlib import Path
from typing import Any

from embedder.backbones.processor import preprocessing_of
from embedder.backbones.source import BackboneError, BackboneSource, Pooling, WrongBackbone, checksum_of
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

# The output that is the vector, by model_type. Models that were trained with text project images into a space that both
# share; for the others we use the output that their authors evaluated. SigLIP 2 with a fixed resolution has the type
# "siglip". Its NaFlex variants ("siglip2") are not supported, because their inputs vary in shape and cannot be batched.
POOLING: dict[str, Pooling] = {
    "vit": "cls",
    "dinov2": "cls",
    "dinov2_with_registers": "cls",
    "dinov3_vit": "cls",
    "dinov3_convnext": "pooled",
    "convnext": "pooled",
    "convnextv2": "pooled",
    "clip": "projection",
    "siglip": "projection",
    "tipsv2": "projection",
    "clip_vision_model": "cls",
    "siglip_vision_model": "pooled",
}

# The file of the tokenizer. Without it, a model with a text tower embeds images only.
TOKENIZER = "tokenizer.json"
# What transformers assume if the configuration does not say it.
TEXT_TOKENS = {"clip": 77, "siglip": 64, "tipsv2": 64}


def folder_source(name: str, folder: Path) -> BackboneSource:
    """Return the model in `folder`. Raises BackboneError if a file is missing or the model is not supported."""
    if not folder.is_dir():
        raise WrongBackbone(f"backbone {name!r}: the folder does not exist")
    config = _read_json(name, folder / "config.json")
    model_type = str(config.get("model_type", ""))
    pooling = POOLING.get(model_type)
    if pooling is None:
        supported = ", ".join(sorted(POOLING))
        raise WrongBackbone(
            f"backbone {name!r}: the model type {model_type!r} is not supported (supported: {supported})"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BackboneError(f"backbone {name!r}: {folder} contains no .safetensors file")
    vision = config.get("vision_config") or config
    processor = _read_json(name, folder / "preprocessor_config.json")
    try:
        preprocessing = preprocessing_of(processor, model_type, vision)
        dimension = _dimension(config, vision)
        text_tokens = _text_tokens(name, folder, config)
    except (KeyError, TypeError, ValueError) as error:
        raise BackboneError(f"backbone {name!r}: its configuration is not supported ({error})") from None
    checksum = checksum_of([folder / "config.json", *weights], preprocessing, pooling)
    path = str(folder.resolve())
    return BackboneSource(name, "transformers", path, pooling, dimension, preprocessing, checksum, text_tokens)


def has_text_tower(config: dict[str, Any]) -> bool:
    """Return whether a model can embed texts, by its configuration."""
    return config.get("model_type") in TEXT_TOKENS


def _read_json(name: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackboneError(f"backbone {name!r}: {path.name} is missing") from None
    except (OSError, ValueError):
        raise BackboneError(f"backbone {name!r}: {path.name} cannot be read") from None
    if not isinstance(values, dict):
        raise BackboneError(f"backbone {name!r}: {path.name} is not a JSON object")
    return values


def _dimension(config: dict[str, Any], vision: dict[str, Any]) -> int:
    if config.get("model_type") == "clip":
        return int(config.get("projection_dim", 512))
    sizes = vision.get("hidden_sizes")
    return int(sizes[-1] if sizes else vision.get("hidden_size", 768))


def _text_tokens(name: str, folder: Path, config: dict[str, Any]) -> int:
    """Return how many tokens of a text the model reads; 0: it has no text tower, or its folder has no tokenizer."""
    if not has_text_tower(config):
        return 0
    if not (folder / TOKENIZER).is_file():
        log.warning("text_search_unavailable", backbone=name, reason=f"the checkpoint has no {TOKENIZER}")
        return 0
    text = config.get("text_config") or {}
    return int(text.get("max_position_embeddings", TEXT_TOKENS[config["model_type"]]))
