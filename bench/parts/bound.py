"""The bound: the embedder's decoder and engine, in one process for each core, with nothing around them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.parts.measuring_process import Answer, MeasuringProcess
from embedder.backbones.resolve import resolve_backbone
from embedder.config import worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import usable_cores

BACKBONE = "efficientnet-lite0"


def rate(answer: Answer) -> float:
    """Return the images a second in an answer."""
    return float(answer["images"]) / float(answer["seconds"])


def bare_rate(loops: Sequence[MeasuringProcess], seconds: float) -> float:
    """Return the images a second of all loops together."""
    for loop in loops:
        loop.begin(do="loop", seconds=seconds)
    return sum(rate(loop.result()) for loop in loops)


class Bound:
    """Measures the bound on the images of a folder."""

    def __init__(self, loops: Sequence[MeasuringProcess]) -> None:
        self._loops = loops

    def rate(self, seconds: float) -> float:
        """Return the images a second of all cores together."""
        return bare_rate(self._loops, seconds)


@contextmanager
def running_bound(folder: Path, models: Path) -> Iterator[Bound]:
    """Run the processes while entered. folder: of images. models: where the converted model is kept."""
    environment = worker_environment()
    source, model = converted(models)
    with ExitStack() as stack:
        loops = []
        for _ in range(usable_cores()):
            loop = MeasuringProcess("bare_loop", "openvino", source, model, "1", str(folder), env=environment)
            stack.callback(loop.close)
            loops.append(loop)
        yield Bound(loops)


def converted(models: Path) -> tuple[str, str]:
    """Return the backbone's source, as JSON, and the path of the model that the engine runs."""
    source = resolve_backbone(BACKBONE, None)
    return source.to_json(), str(asyncio.run(converted_model(source, models, worker_environment())).model)
