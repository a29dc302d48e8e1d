"""Convert a backbone to ONNX, in a short-lived process so that the embedder itself never loads torch.

`python -m embedder.engines.export FOLDER` reads the backbone's source as JSON from standard input and writes model.onnx
and canary.npy into FOLDER. On failure it prints one line on standard error and exits with status 1.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from embedder.backbones.source import BackboneError, BackboneSource
from embedder.backbones.vision_model import PixelsToVectors, load_vision_model
from embedder.canary import canary_image, cosine
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.engine import EngineError, Pixels, Vectors
from embedder.engines.model_cache import CANARY, MODEL
from embedder.engines.openvino_engine import INPUT, OUTPUT, OpenVinoEngine

OPSET = 17
MIN_EXPORT_COSINE = 0.9999
# Enough for the canary.
MAX_PIXELS = 1_000_000


def export(source: BackboneSource, folder: Path) -> None:
    """Write the converted model and the vector of the canary. Raises BackboneError or EngineError."""
    model = load_vision_model(source)
    example = _example(source)
    expected = _run(model, example)
    if expected.shape[1] != source.dimension:
        raise BackboneError(
            f"backbone {source.name!r}: its vectors have {expected.shape[1]} dimensions instead of {source.dimension}"
        )
    torch.onnx.export(
        model,
        (torch.from_numpy(example[:1]),),
        str(folder / MODEL),
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
    )
    converted = OpenVinoEngine(folder / MODEL, threads=1, all_threads=1).embed(example)
    worst = min(cosine(a, b) for a, b in zip(expected, converted, strict=True))
    if worst < MIN_EXPORT_COSINE:
        raise EngineError(f"the vectors of the converted model differ from those of torch: cosine {worst:.6f}")
    np.save(folder / CANARY, expected[0])


def _example(source: BackboneSource) -> Pixels:
    """Return the canary and an image of noise, as inputs of the backbone."""
    decoder = Decoder(prepare_pillow(), MAX_PIXELS, source.preprocessing)
    canary = prepare_inputs(decoder, canary_image(), views=0, seed=0).pixels[0]
    noise = np.random.default_rng(0).integers(0, 256, canary.shape, dtype=np.uint8)
    return np.stack([canary, noise])


def _run(model: PixelsToVectors, pixels: Pixels) -> Vectors:
    with torch.inference_mode():
        vectors: Vectors = model(torch.from_numpy(pixels)).numpy()
    return vectors


def main() -> int:
    """Convert one backbone and return the exit status."""
    warnings.simplefilter("ignore")
    try:
        export(BackboneSource.from_json(sys.stdin.read()), Path(sys.argv[1]))
    except (BackboneError, EngineError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
