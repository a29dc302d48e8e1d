"""The main loop of a worker process. It has one thread, so that nothing competes with the decoder."""

import json
import sys
from collections import deque
from pathlib import Path

import numpy as np

from embedder.backbones.source import BackboneError, BackboneSource
from embedder.canary import canary_image, check_canary
from embedder.decoding.decoder import Decoder
from embedder.decoding.header import prepare_pillow
from embedder.decoding.inputs import prepare_inputs
from embedder.engines.batch_engine import BatchEngine, SynchronousBatches
from embedder.engines.engine import Engine, EngineBroken, EngineError, Pixels
from embedder.workers.arena import Arena
from embedder.workers.batch_loop import BatchLoop
from embedder.workers.cpu_limit import prepare_cpu_limit
from embedder.workers.current_request import CurrentRequest
from embedder.workers.decode_handler import DecodeHandler
from embedder.workers.fused_handler import FusedHandler
from embedder.workers.handler import Handler, send_result
from embedder.workers.limited_decoding import LimitedDecoding
from embedder.workers.memory import limit_memory
from embedder.workers.messages import WorkerOrders, WorkerReady, WorkRequest, to_header, to_request
from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back


def run_worker(link: ParentLink, arena: int, current: CurrentRequest) -> None:
    """Receive orders, report when the worker is ready, then answer requests until the parent hangs up."""
    try:
        header, _ = link.receive()[0]
        orders = WorkerOrders(**json.loads(header))
        step_back(orders.niceness)
        try:
            ready, work = _prepare(orders, arena, current)
        except (BackboneError, EngineError, OSError, RuntimeError) as error:
            link.send(to_header(WorkerReady(failure=" ".join(str(error).split()) or type(error).__name__)))
            return
        link.send(to_header(ready))
        if isinstance(work, BatchLoop):
            work.serve(link)
        else:
            _serve_one_by_one(link, work)
    except (EOFError, ConnectionError):
        return
    except EngineBroken as error:
        sys.stderr.write(f"embedder worker: {error}\n")


def _prepare(orders: WorkerOrders, arena: int, current: CurrentRequest) -> tuple[WorkerReady, Handler | BatchLoop]:
    """Load what the role needs, check it with the canary, and only then limit the memory."""
    source = BackboneSource.from_json(json.dumps(orders.source))
    if orders.role == "text":
        return _prepare_text(source, orders)
    decoder = Decoder(prepare_pillow(), orders.max_pixels, source.preprocessing)
    canary = prepare_inputs(decoder, canary_image(), views=0, seed=0).pixels[0]
    expected = np.load(orders.canary) if orders.canary else None
    prepare_cpu_limit()
    decoding = LimitedDecoding(decoder, current, search_seconds=orders.search_seconds, bulk_seconds=orders.bulk_seconds)
    if orders.role == "decoder":
        limit_memory(orders.memory_bytes)
        return WorkerReady(orders.device, orders.engine), DecodeHandler(decoding, Arena(arena, source.preprocessing))
    if orders.role == "engine":
        batches = _batch_engine(source, orders, canary)
        vectors = batches.start(lambda pixels: np.copyto(pixels, canary), 1).collect()
        check_canary(vectors, expected)
        return WorkerReady(batches.device, batches.name), BatchLoop(batches, Arena(arena, source.preprocessing))
    engine = _engine(source, orders)
    for all_cores in (False, True):
        check_canary(engine.embed(canary[np.newaxis], all_cores=all_cores), expected)
    limit_memory(orders.memory_bytes)
    return WorkerReady(engine.device, engine.name), FusedHandler(decoding, engine, expected)


def _prepare_text(source: BackboneSource, orders: WorkerOrders) -> tuple[WorkerReady, Handler]:
    # Only this worker needs torch and a tokenizer.
    from embedder.backbones.text_tower import TextTower
    from embedder.workers.text_handler import TextHandler

    handler = TextHandler(source, TextTower(source, threads=orders.threads))
    return WorkerReady("cpu", "torch"), handler


def _engine(source: BackboneSource, orders: WorkerOrders) -> Engine:
    if orders.engine == "torch":
        from embedder.engines.torch_engine import TorchEngine

        return TorchEngine(source, threads=orders.threads)
    from embedder.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(Path(orders.model), threads=orders.threads, all_threads=orders.all_threads)


def _batch_engine(source: BackboneSource, orders: WorkerOrders, canary: Pixels) -> BatchEngine:
    if orders.device != "cpu":
        from embedder.engines.cuda_engine import CudaEngine

        return CudaEngine(source, canary, orders.max_batch)
    shape = (source.preprocessing.crop_height, source.preprocessing.crop_width, 3)
    return SynchronousBatches(_engine(source, orders), shape, orders.max_batch)


def _serve_one_by_one(link: ParentLink, handler: Handler) -> None:
    """Answer requests, urgent ones first, until EOFError or ConnectionError is raised because the parent hung up."""
    urgent: deque[WorkRequest] = deque()
    others: deque[WorkRequest] = deque()
    while True:
        for header, body in link.receive_waiting() if urgent or others else link.receive():
            request = to_request(header, body)
            (urgent if request.urgent else others).append(request)
        send_result(link, handler.handle((urgent or others).popleft()))
