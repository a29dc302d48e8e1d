"""Any backbone as a torch module, from decoded pixels to vectors."""

from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from embedder.backbones.efficientnet_lite import load_efficientnet_lite0, read_weights
from embedder.backbones.source import BackboneError, BackboneSource
from embedder.decoding.preprocessing import Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable


M = TypeVar("M", bound=nn.Module)


class PixelsToVectors(nn.Module):
    """Maps uint8 pixels [n, height, width, 3] to float32 vectors [n, dimension]. Normalisation is part of the graph."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.features = features
        self.precision = torch.float32
        self.register_buffer("mean", torch.tensor(preprocessing.mean))
        self.register_buffer("scale", 1 / torch.tensor(preprocessing.std))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the output of the backbone, not normalised."""
        # Normalised before the axes are permuted, so that OpenVINO has nothing to reorder.
        x = (pixels.float() - self.mean) * self.scale
        vectors: Tensor = self.features(x.permute(0, 3, 1, 2).to(self.precision))
        return vectors.float()

    def set_precision(self, dtype: torch.dtype) -> None:
        """Run the backbone, but not the normalisation, in `dtype` from now on.

        Weights are rounded in place; going back to float32 does not restore them.
        """
        self.precision = dtype
        channels_last(self.features.to(dtype=dtype))


class TransformersFeatures(nn.Module):
    """Returns one output of a transformers model as the vector."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map normalised images [n, 3, height, width] to vectors [n, dimension]."""
        if self.pooling == "projection":
            project = cast("Callable[..., Any]", self.model.get_image_features)
            output = project(pixel_values=pixel_values)
            return cast("Tensor", output if isinstance(output, Tensor) else output.pooler_output)
        output = self.model(pixel_values=pixel_values)
        if self.pooling == "pooled":
            return cast("Tensor", output.pooler_output)
        return cast("Tensor", output.last_hidden_state[:, 0])


def channels_last(model: M) -> M:
    """Lay out the weights of a model as [height, width, channels], which is faster, and return the model."""
    # The type stubs of torch do not know this argument.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def load_vision_model(source: BackboneSource) -> PixelsToVectors:
    """Load a backbone on the CPU, in float32 and in evaluation mode. Raises BackboneError."""
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
        raise BackboneError(f"backbone {source.name!r} could not be loaded: {reason}") from None
    return PixelsToVectors(TransformersFeatures(model, source.pooling), source.preprocessing).eval()
