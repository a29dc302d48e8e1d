"""ONNX Runtime on processors."""

from pathlib import Path

import numpy as np
import onnxruntime

from similis.embedder.engines.engine import EngineError, Pixels, Vectors

INPUT, OUTPUT = "pixels", "vectors"
# Models above this are loaded once: a second session for lone requests would double their memory.
WIDE_MODEL_BYTES = 64 << 20
# More threads than this do not make a single image faster.
MAX_WIDE_THREADS = 4


class OnnxEngine:
    """A converted model. One session has the worker's share of the processors, another one all, for lone requests."""

    device = "cpu"
    name = "onnxruntime"

    def __init__(self, model: Path, *, threads: int, wide_threads: int) -> None:
        self._session = _session(model, threads)
        wide_threads = min(wide_threads, MAX_WIDE_THREADS)
        has_wide = wide_threads > threads and model.stat().st_size <= WIDE_MODEL_BYTES
        self._wide = _session(model, wide_threads) if has_wide else self._session

    def embed(self, pixels: Pixels, *, wide: bool = False) -> Vectors:
        """See `Engine`."""
        session = self._wide if wide else self._session
        try:
            vectors: Vectors = session.run([OUTPUT], {INPUT: np.ascontiguousarray(pixels)})[0]
        except Exception as error:
            # The runtime's exceptions have no common base of their own.
            raise EngineError(f"ONNX Runtime failed: {type(error).__name__}") from error
        return vectors


def _session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits takes the processor from another worker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot load the model: {type(error).__name__}") from error
