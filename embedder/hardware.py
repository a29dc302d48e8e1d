"""What the embedder makes of the machine: device, engine, processes and threads."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from embedder.config import EmbedderSettings
from embedder.cores import usable_cores

# Workers that hold a model cost memory; further processors are given to them as threads.
MAX_FUSED_WORKERS = 8
MAX_DECODERS = 32
IN_FLIGHT_PER_WORKER = 8
STAGED_BATCH = 64
CUDA_DRIVER = Path("/dev/nvidiactl")
CUDA_QUESTION = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"


class HardwareError(Exception):
    """The settings ask for what this machine has not; the message is one line for the operator."""


@dataclass(frozen=True)
class Hardware:
    """workers: processes that decode. threads: of the engine, in each of them. cores: that may be used in all.

    staged: decoding and inference in different processes, in batches of `max_batch`, over `slots` of shared memory.
    """

    device: str
    engine: str
    staged: bool
    workers: int
    threads: int
    cores: int
    max_batch: int
    slots: int
    stream_in_flight: int


async def has_cuda(wanted: str, environment: dict[str, str], driver: Path = CUDA_DRIVER) -> bool:
    """Whether torch can use a GPU. It is asked in a process of its own, so that this one need not load it."""
    if wanted == "cpu" or not await asyncio.to_thread(driver.exists):
        return False
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CUDA_QUESTION),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    return await process.wait() == 0


def chosen_hardware(settings: EmbedderSettings, cuda: bool, cores: int | None = None) -> Hardware:
    """The settings, with what they leave open chosen for this machine. Raises HardwareError for what cannot be."""
    if settings.device == "cuda" and not cuda:
        raise HardwareError("SIMILIS_DEVICE is cuda, but torch finds no GPU that it can use")
    on_gpu = cuda and settings.device != "cpu"
    if on_gpu and (settings.engine == "openvino" or settings.pipeline == "fused"):
        raise HardwareError("on CUDA the engine is torch and the pipeline staged: set SIMILIS_DEVICE=cpu for others")
    cores = usable_cores() if cores is None else cores
    staged = on_gpu or settings.pipeline == "staged"
    most = min(max(1, cores - 1), MAX_DECODERS) if staged else min(cores, MAX_FUSED_WORKERS)
    workers = settings.workers or most
    threads = settings.threads or (cores if staged else max(1, cores // workers))
    engine = settings.engine if settings.engine != "auto" else "torch" if on_gpu else "openvino"
    # An image and all of its views go into one batch.
    max_batch = max(settings.max_batch or STAGED_BATCH, 1 + settings.max_views)
    return Hardware(
        device="cuda" if on_gpu else "cpu",
        engine=engine,
        staged=staged,
        workers=workers,
        threads=threads,
        cores=cores,
        max_batch=max_batch,
        slots=4 * max_batch + 2 * workers,
        stream_in_flight=max(IN_FLIGHT_PER_WORKER * workers, 4 * max_batch if staged else 0),
    )
