"""OpenVINO on processors."""

from pathlib import Path

import numpy as np
import openvino

from embedder.engines.engine import EngineError, Pixels, Vectors

INPUT, OUTPUT = "pixels", "vectors"
# Models above this are compiled once: a second form for lone requests would double their memory.
WIDE_MODEL_BYTES = 64 << 20
# More threads than this do not make a single image faster.
MAX_WIDE_THREADS = 4


class OpenVinoEngine:
    """A converted model. One form has the worker's share of the processors, another one all, for lone requests."""

    device = "cpu"
    name = "openvino"

    def __init__(self, model: Path, *, threads: int, wide_threads: int) -> None:
        self._narrow = _compiled(model, threads)
        wide_threads = min(wide_threads, MAX_WIDE_THREADS)
        has_wide = wide_threads > threads and model.stat().st_size <= WIDE_MODEL_BYTES
        self._wide = _compiled(model, wide_threads) if has_wide else self._narrow

    def embed(self, pixels: Pixels, *, wide: bool = False) -> Vectors:
        """See `Engine`."""
        request = self._wide if wide else self._narrow
        try:
            found = request.infer({INPUT: np.ascontiguousarray(pixels)}, share_inputs=True, share_outputs=False)
        except Exception as error:
            # The runtime's exceptions have no common base of their own.
            raise EngineError(f"OpenVINO failed: {type(error).__name__}") from error
        vectors: Vectors = found[OUTPUT]
        return vectors


def _compiled(model: Path, threads: int) -> openvino.InferRequest:
    """A form of the model that one caller at a time uses.

    In float32, whatever the processor would offer. Not pinned: the workers do not know of each other, and all of them
    would be given the same processors.
    """
    try:
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(str(model)),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )
        return compiled.create_infer_request()
    except Exception as error:
        raise EngineError(f"OpenVINO cannot load the model: {type(error).__name__}") from error
