"""The torch module of any backbone: pixels as decoded in, vectors out."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from embedder.backbones.efficientnet_lite import load_efficientnet_lite0, read_weights
from embedder.backbones.source import BackboneError, BackboneSource
from embedder.decoding.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable


class PixelsToVectors(nn.Module):
    """uint8 pixels [n, height, width, 3] to float32 vectors [n, dimension]; normalisation is part of the graph."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.features = features
        self.precision = torch.float32
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(preprocessing.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """The vectors, as the backbone gives them."""
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) * self.scale
        vectors: Tensor = self.features(x.to(self.precision))
        return vectors.float()

    def set_precision(self, dtype: torch.dtype) -> None:
        """Runs the backbone, not the normalisation, in `dtype`. Rounded weights stay rounded."""
        self.precision = dtype
        self.features.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


class TransformersFeatures(nn.Module):
    """One output of a transformers model as the vector."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised images [n, 3, height, width] to [n, dimension]."""
        if self.pooling == "projection":
            project = cast("Callable[..., object]", self.model.get_image_features)
            found = project(pixel_values=pixel_values)
            return cast("Tensor", found if isinstance(found, Tensor) else found.pooler_output)  # type: ignore[attr-defined]
        output = self.model(pixel_values=pixel_values)
        if self.pooling == "pooled":
            return cast("Tensor", output.pooler_output)
        return cast("Tensor", output.last_hidden_state[:, 0])


def load_vision_model(source: BackboneSource) -> PixelsToVectors:
    """The module of a backbone, in evaluation mode on the CPU, in float32. Raises BackboneError."""
    if source.family == "efficientnet-lite0":
        return PixelsToVectors(load_efficientnet_lite0(read_weights(source.path)), source.preprocessing).eval()
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(
            source.path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(f"backbone {source.name!r} cannot be loaded: {reason}") from None
    return PixelsToVectors(TransformersFeatures(model, source.pooling), source.preprocessing).eval()
