"""Choose device, engine, processes and threads for the machine."""

import asyncio
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from embedder.config import EmbedderSettings

CGROUP = Path("/sys/fs/cgroup")
# Every worker of the fused pipeline holds the model in memory. Beyond this number, cores become threads of the workers.
MAX_FUSED_WORKERS = 8
# As many searches as this have cores of their own beside a finetune. Each of these workers takes some 130 MB.
INTERACTIVE_WORKERS = 2
MAX_DECODERS = 32
IN_FLIGHT_PER_WORKER = 8
STAGED_BATCH = 64
CUDA_DRIVER = Path("/dev/nvidiactl")
CUDA_CHECK = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"


class HardwareError(Exception):
    """The settings ask for hardware that this machine lacks. The message is one line for the operator."""


@dataclass(frozen=True)
class HardwarePlan:
    """How the embedder uses the machine.

    staged: whether decoding and inference run in different processes, which exchange batches of up to `max_batch`
    inputs through `slots` inputs of shared memory. workers: processes that decode. interactive: additional ones that
    serve searches only. threads: of the engine in each process. cores: all that the embedder may use.
    stream_in_flight: unanswered images of one stream.
    """

    device: str
    engine: str
    staged: bool
    workers: int
    interactive: int
    threads: int
    cores: int
    max_batch: int
    slots: int
    stream_in_flight: int


async def has_cuda(device: str, environment: dict[str, str], driver: Path = CUDA_DRIVER) -> bool:
    """Return whether torch can use a GPU, unless the `device` setting is cpu.

    A short-lived process asks torch, so that this one need not load it.
    """
    if device == "cpu" or not await asyncio.to_thread(driver.exists):
        return False
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CUDA_CHECK),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    return await process.wait() == 0


def plan_hardware(settings: EmbedderSettings, *, cuda: bool, cores: int | None = None) -> HardwarePlan:
    """Return the plan that the settings ask for, completed for this machine.

    cuda: whether torch can use a GPU. cores: those that this process may use, by default. Raises HardwareError if the
    machine lacks what the settings ask for.
    """
    if settings.device == "cuda" and not cuda:
        raise HardwareError("SIMILIS_DEVICE is cuda, but torch finds no usable GPU")
    on_gpu = cuda and settings.device != "cpu"
    if on_gpu and (settings.engine == "openvino" or settings.pipeline == "fused"):
        raise HardwareError(
            "a GPU needs SIMILIS_ENGINE=torch and SIMILIS_PIPELINE=staged: change them, or set SIMILIS_DEVICE=cpu"
        )
    cores = usable_cores() if cores is None else cores
    staged = on_gpu or settings.pipeline == "staged"
    default_workers = min(max(1, cores - 1), MAX_DECODERS) if staged else min(cores, MAX_FUSED_WORKERS)
    workers = settings.workers or default_workers
    interactive = settings.interactive_workers
    if interactive is None:
        interactive = min(cores, INTERACTIVE_WORKERS)
    threads = settings.threads or (cores if staged else max(1, cores // workers))
    engine = settings.engine if settings.engine != "auto" else "torch" if on_gpu else "openvino"
    # An image and all of its views belong to one batch.
    max_batch = max(settings.max_batch or STAGED_BATCH, 1 + settings.max_views)
    return HardwarePlan(
        device="cuda" if on_gpu else "cpu",
        engine=engine,
        staged=staged,
        workers=workers,
        interactive=0 if staged else interactive,
        threads=threads,
        cores=cores,
        max_batch=max_batch,
        slots=4 * max_batch + 2 * workers,
        stream_in_flight=max(IN_FLIGHT_PER_WORKER * workers, 4 * max_batch if staged else 0),
    )


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores the CPU affinity and the container's CPU quota (rounded up) allow, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = _cpu_quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _cpu_quota(cgroup: Path) -> float | None:
    """Return the quota of cgroup v2 or v1 in cores, or None if there is no limit."""
    try:
        limit, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((cgroup / "cpu/cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return limit_us / period_us if limit_us > 0 else None
