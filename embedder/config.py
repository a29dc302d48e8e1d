"""What the embedder can be told; each field is read from SIMILIS_<FIELD>."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from servicekit.settings import RpcServerSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def default_model_cache() -> Path:
    """Where converted models are kept when nothing else is said: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "similis" / "models"


class EmbedderSettings(RpcServerSettings):
    """Address, backbone, hardware and limits of one embedder. 0 stands for "fitting the hardware"."""

    listen: str = "127.0.0.1:9001"
    metrics_host: str = "127.0.0.1"
    # None: no metrics endpoint. 0: a free port, which the log tells.
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None

    # "efficientnet-lite0", a folder, or the name of a model on the hub (which needs a revision).
    backbone: str = "efficientnet-lite0"
    backbone_revision: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "openvino", "torch"] = "auto"
    # "fused": every worker decodes and infers. "staged": workers decode, one process infers in batches.
    pipeline: Literal["auto", "fused", "staged"] = "auto"
    model_cache: Path = Field(default_factory=default_model_cache)

    workers: Annotated[int, Field(ge=0)] = 0
    # Further workers of the fused pipeline that only searches use. 0: searches overtake in the others.
    interactive_workers: Annotated[int, Field(ge=0)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    max_batch: Annotated[int, Field(ge=0)] = 0
    batch_age_ms: Annotated[float, Field(ge=0)] = 4.0

    max_image_bytes: Count = 20 * MIB
    max_image_pixels: Count = 50_000_000
    max_views: Count = 16
    decode_memory_bytes: Count = 448 * MIB
    item_seconds: Seconds = 20.0

    interactive_queue: Count = 128
    interactive_queue_bytes: Count = 64 * MIB
    bulk_queue: Count = 256
    bulk_queue_bytes: Count = 64 * MIB
    stream_in_flight: Annotated[int, Field(ge=0)] = 0
    request_seconds: Seconds = 60.0
    bulk_seconds: Seconds = 600.0

    worker_images: Count = 20_000
    worker_memory_bytes: Count = 1024 * MIB
    canary_seconds: Seconds = 10.0


def worker_environment() -> dict[str, str]:
    """The environment of worker processes.

    One arena, and large blocks straight from the system: what a large image took goes back when it is done. Threads
    of libraries beside the engine's own would only compete with it.
    """
    return {
        **os.environ,
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(16 * MIB),
        "MALLOC_TRIM_THRESHOLD_": str(32 * MIB),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
