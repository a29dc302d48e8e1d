"""A folder with the files of a small ViT. Its weights are random numbers that no model can load."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

CONFIGURATION = {"model_type": "vit", "hidden_size": 32, "image_size": 56, "patch_size": 14}
PREPROCESSING = {
    "do_resize": True,
    "size": {"height": 56, "width": 56},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48, 0.45, 0.40],
    "image_std": [0.26, 0.26, 0.27],
}


def save_vit_folder(folder: Path) -> Path:
    """Write the files and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGURATION), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING), encoding="utf-8")
    save_file({"weight": np.random.default_rng(0).normal(size=(4, 4))}, folder / "model.safetensors")
    return folder
