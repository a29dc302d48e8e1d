"""The loop of a worker: one thread, so that nothing ever competes with the decoder for Python's lock."""

import json
import socket
from collections import deque
from pathlib import Path

import numpy as np

from similis.embedder.backbones.source import BackboneError, BackboneSource
from similis.embedder.canary import canary_image
from similis.embedder.decoding.decode import Decoder
from similis.embedder.decoding.fit import fit
from similis.embedder.decoding.header import prepare_pillow
from similis.embedder.engines.engine import Engine, EngineError
from similis.embedder.workers.fused import FusedWork
from similis.embedder.workers.lifeline import limit_memory
from similis.embedder.workers.wire import FrameReceiver, Job, Ready, WorkerOrders, encode


def work(connection: socket.socket) -> None:
    """Takes orders, says when it is ready, then answers jobs until the other side is gone."""
    frames = FrameReceiver(connection)
    try:
        header, _ = frames.next()[0]
        orders = WorkerOrders(**json.loads(header))
        try:
            answers = _prepare(orders, connection)
        except (BackboneError, EngineError, OSError, RuntimeError) as error:
            connection.sendall(encode(Ready(failure=f"{error}".strip() or type(error).__name__)))
            return
        _answer_jobs(frames, connection, answers)
    except (EOFError, ConnectionError):
        return


def _prepare(orders: WorkerOrders, connection: socket.socket) -> FusedWork:
    source = BackboneSource.from_json(json.dumps(orders.source))
    decoder = Decoder(prepare_pillow(), orders.max_pixels, source.preprocessing)
    engine = _engine(source, orders)
    fused = FusedWork(decoder, engine, np.load(orders.canary) if orders.canary else None)
    pixels = fit(decoder.decode(canary_image()), source.preprocessing)[np.newaxis]
    for wide in (False, True):
        fused.check(engine.embed(pixels, wide=wide))
    limit_memory(orders.memory_bytes)
    connection.sendall(encode(Ready(device=engine.device, engine=engine.name)))
    return fused


def _engine(source: BackboneSource, orders: WorkerOrders) -> Engine:
    if orders.engine == "torch":
        from similis.embedder.engines.torch_engine import TorchEngine

        return TorchEngine(source, threads=orders.threads)
    from similis.embedder.engines.onnx_engine import OnnxEngine

    return OnnxEngine(Path(orders.model), threads=orders.threads, wide_threads=orders.wide_threads)


def _answer_jobs(frames: FrameReceiver, connection: socket.socket, answers: FusedWork) -> None:
    """Urgent jobs overtake the others that wait here."""
    urgent: deque[tuple[Job, bytes]] = deque()
    others: deque[tuple[Job, bytes]] = deque()
    while True:
        for header, body in frames.waiting() if urgent or others else frames.next():
            job = Job(**json.loads(header))
            (urgent if job.urgent else others).append((job, body))
        job, body = (urgent or others).popleft()
        result, vectors = answers.answer(job, body)
        connection.sendall(encode(result, len(vectors)) + vectors)
