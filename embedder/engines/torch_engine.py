"""Torch on the CPU: the reference, and the way to run models that cannot be converted."""

import torch

from embedder.backbones.source import BackboneSource
from embedder.backbones.vision_model import channels_last, load_vision_model
from embedder.engines.engine import Pixels, Vectors


class TorchEngine:
    """Runs eager torch in float32, channels last."""

    device = "cpu"
    name = "torch"

    def __init__(self, source: BackboneSource, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = channels_last(load_vision_model(source))

    def embed(self, pixels: Pixels, *, all_cores: bool = False) -> Vectors:  # noqa: ARG002 - torch has one thread pool
        """See `Engine`."""
        with torch.inference_mode():
            vectors: Vectors = self._model(torch.from_numpy(pixels.copy())).numpy()
        return vectors
