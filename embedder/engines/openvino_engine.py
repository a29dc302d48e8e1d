"""OpenVINO on the CPU."""

from pathlib import Path

import numpy as np
import openvino

from embedder.engines.engine import EngineError, Pixels, Vectors

INPUT, OUTPUT = "pixels", "vectors"
# Larger models are compiled once only, because the second form would double their memory.
MAX_BYTES_FOR_TWO_FORMS = 64 << 20
# More threads do not make a single image faster.
MAX_THREADS = 4


class OpenVinoEngine:
    """A converted model in two forms: one uses the worker's share of the cores, the other one all cores."""

    device = "cpu"
    name = "openvino"

    def __init__(self, model: Path, *, threads: int, all_threads: int) -> None:
        """threads: of a forward pass. all_threads: of a forward pass that may use all cores, at most MAX_THREADS."""
        self._own_share = _compiled(model, threads)
        all_threads = min(all_threads, MAX_THREADS)
        has_two_forms = all_threads > threads and model.stat().st_size <= MAX_BYTES_FOR_TWO_FORMS
        self._all_cores = _compiled(model, all_threads) if has_two_forms else self._own_share

    def embed(self, pixels: Pixels, *, all_cores: bool = False) -> Vectors:
        """See `Engine`. Images run one by one, because a batch does not fit into the caches."""
        request = self._all_cores if all_cores else self._own_share
        try:
            return np.concatenate([_vector(request, image) for image in pixels])
        except Exception as error:
            # OpenVINO's exceptions have no common class.
            raise EngineError(f"OpenVINO failed: {type(error).__name__}") from error


def _vector(request: openvino.InferRequest, image: Pixels) -> Vectors:
    """Return the vector [1, dimension] of one image [height, width, 3]."""
    pixels = np.ascontiguousarray(image[np.newaxis])
    outputs = request.infer({INPUT: pixels}, share_inputs=True, share_outputs=False)
    vector: Vectors = outputs[OUTPUT]
    return vector


def _compiled(model: Path, threads: int) -> openvino.InferRequest:
    """Compile one form of the model, for one caller at a time and one image at a time.

    A fixed number of images allows faster kernels, with the same vectors. It computes in float32 even if the CPU could
    compute in bfloat16, which changes the vectors. Threads are not pinned to cores: workers do not know of each other,
    and OpenVINO would pin all of them to the same cores.
    """
    try:
        core = openvino.Core()
        network = core.read_model(str(model))
        network.reshape({INPUT: [1, *network.input(INPUT).partial_shape[1:]]})
        compiled = core.compile_model(
            network,
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
        raise EngineError(f"OpenVINO could not load the model: {type(error).__name__}") from error
