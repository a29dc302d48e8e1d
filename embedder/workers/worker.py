"""What a worker does: takes orders, gets ready, answers jobs. One thread, so that nothing competes with the decoder."""

import json
import sys
from collections import deque
from pathlib import Path
from typing import Protocol

import numpy as np

from embedder.backbones.source import BackboneError, BackboneSource
from embedder.canary import canary_image
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.batch_engine import BatchEngine, SynchronousBatches
from embedder.engines.engine import Engine, EngineBroken, EngineError, Pixels
from embedder.workers.arena import Arena
from embedder.workers.batch_work import BatchWork
from embedder.workers.decoding_work import DecodingWork
from embedder.workers.fused import FusedWork, check_canary
from embedder.workers.memory import limit_memory
from embedder.workers.wire import Job, Ready, Result, WorkerOrders, header
from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back


class OneByOne(Protocol):
    """Work that is done a job at a time."""

    def answer(self, job: Job, image: bytes) -> tuple[Result, bytes]:
        """The outcome of a job, and its vectors as bytes."""
        ...


def work(link: ParentLink, arena: int) -> None:
    """Takes orders, says when it is ready, then answers jobs until the other side is gone."""
    try:
        given, _ = link.receive()[0]
        orders = WorkerOrders(**json.loads(given))
        step_back(orders.niceness)
        try:
            ready, work = _prepared(orders, arena)
        except (BackboneError, EngineError, OSError, RuntimeError) as error:
            link.send(header(Ready(failure=" ".join(str(error).split()) or type(error).__name__)))
            return
        link.send(header(ready))
        if isinstance(work, BatchWork):
            work.serve(link)
        else:
            _answer_jobs(link, work)
    except (EOFError, ConnectionError):
        return
    except EngineBroken as error:
        sys.stderr.write(f"embedder worker: {error}\n")


def _prepared(orders: WorkerOrders, arena: int) -> tuple[Ready, OneByOne | BatchWork]:
    source = BackboneSource.from_json(json.dumps(orders.source))
    decoder = Decoder(prepare_pillow(), orders.max_pixels, source.preprocessing)
    canary = prepare_inputs(decoder, canary_image(), views=0, seed=0)[0]
    expected = np.load(orders.canary) if orders.canary else None
    if orders.role == "decoder":
        limit_memory(orders.memory_bytes)
        return Ready(orders.device, orders.engine), DecodingWork(decoder, Arena(arena, source.preprocessing))
    if orders.role == "engine":
        batches = _batch_engine(source, orders, canary)
        vectors = batches.start(lambda pixels: np.copyto(pixels, canary), 1).collect()
        check_canary(vectors, expected)
        return Ready(batches.device, batches.name), BatchWork(batches, Arena(arena, source.preprocessing))
    engine = _engine(source, orders)
    for wide in (False, True):
        check_canary(engine.embed(canary[np.newaxis], all_cores=wide), expected)
    limit_memory(orders.memory_bytes)
    return Ready(engine.device, engine.name), FusedWork(decoder, engine, expected)


def _engine(source: BackboneSource, orders: WorkerOrders) -> Engine:
    if orders.engine == "torch":
        from embedder.engines.torch_engine import TorchEngine

        return TorchEngine(source, threads=orders.threads)
    from embedder.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(Path(orders.model), threads=orders.threads, all_threads=orders.wide_threads)


def _batch_engine(source: BackboneSource, orders: WorkerOrders, canary: Pixels) -> BatchEngine:
    if orders.device != "cpu":
        from embedder.engines.cuda_engine import CudaEngine

        return CudaEngine(source, canary, orders.max_batch)
    shape = (source.preprocessing.crop_height, source.preprocessing.crop_width, 3)
    return SynchronousBatches(_engine(source, orders), shape, orders.max_batch)


def _answer_jobs(link: ParentLink, answers: OneByOne) -> None:
    """Urgent jobs overtake the others that wait here."""
    urgent: deque[tuple[Job, bytes]] = deque()
    others: deque[tuple[Job, bytes]] = deque()
    while True:
        for given, body in link.receive_waiting() if urgent or others else link.receive():
            job = Job(**json.loads(given))
            (urgent if job.urgent else others).append((job, body))
        job, body = (urgent or others).popleft()
        result, vectors = answers.answer(job, body)
        link.send(header(result), vectors)
