"""Torch on processors: the reference, and the way for models that cannot be converted."""

import torch

from embedder.backbones.source import BackboneSource
from embedder.backbones.vision_model import load_vision_model
from embedder.engines.engine import Pixels, Vectors


class TorchEngine:
    """Eager torch, channels last, float32."""

    device = "cpu"
    name = "torch"

    def __init__(self, source: BackboneSource, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = load_vision_model(source).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def embed(self, pixels: Pixels, *, wide: bool = False) -> Vectors:  # noqa: ARG002 - one pool of threads for all
        """See `Engine`."""
        with torch.inference_mode():
            vectors: Vectors = self._model(torch.from_numpy(pixels.copy())).numpy()
        return vectors
