"""The settings of the embedder. A field `workers` is read from the environment variable SIMILIS_WORKERS."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from servicekit.settings import RpcServerSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def default_model_cache() -> Path:
    """Return the default folder for converted models, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "similis" / "models"


class EmbedderSettings(RpcServerSettings):
    """The settings of one embedder process. 0 means "chosen for the hardware" where it is a default."""

    listen: str = "127.0.0.1:9001"
    metrics_host: str = "127.0.0.1"
    # None: no metrics endpoint. 0: any free port, which the log names.
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None

    # "efficientnet-lite0", a folder, or the name of a model on the Hugging Face hub, which needs a revision.
    backbone: str = "efficientnet-lite0"
    # The full commit hash of a model on the hub.
    backbone_revision: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "openvino", "torch"] = "auto"
    # "fused": every worker decodes and infers. "staged": workers decode, and one process infers in batches.
    pipeline: Literal["auto", "fused", "staged"] = "auto"
    # The folder of converted models.
    model_cache: Path = Field(default_factory=default_model_cache)

    # Processes that decode.
    workers: Annotated[int, Field(ge=0)] = 0
    # Additional workers of the fused pipeline, reserved for searches. 0: searches share the other workers, where they
    # go first.
    interactive_workers: Annotated[int, Field(ge=0)] = 1
    # Threads of the engine in each process that infers.
    threads: Annotated[int, Field(ge=0)] = 0
    # Largest batch of the staged pipeline, and the longest that an image waits for a batch to fill.
    max_batch: Annotated[int, Field(ge=0)] = 0
    batch_age_ms: Annotated[float, Field(ge=0)] = 4.0

    max_image_bytes: Count = 20 * MIB
    max_image_pixels: Count = 50_000_000
    # Augmented views of one image.
    max_views: Count = 16
    # Memory that decoding may take in a worker, beyond its model.
    decode_memory_bytes: Count = 448 * MIB
    # A worker that stays silent for so long over an image is killed.
    item_seconds: Seconds = 20.0

    # Images that may wait for a worker, by lane. Searches beyond them are refused; bulk streams wait.
    interactive_queue: Count = 128
    interactive_queue_bytes: Count = 64 * MIB
    bulk_queue: Count = 256
    bulk_queue_bytes: Count = 64 * MIB
    # Unanswered images of one bulk stream.
    stream_in_flight: Annotated[int, Field(ge=0)] = 0
    # Timeouts of an image in the interactive and in the bulk lane. The deadline of the caller applies as well.
    request_seconds: Seconds = 60.0
    bulk_seconds: Seconds = 600.0

    # A worker that has embedded more images, or that holds more memory, is replaced.
    worker_images: Count = 20_000
    worker_memory_bytes: Count = 1024 * MIB
    # Without other images for so long, the embedder checks itself with the canary.
    canary_seconds: Seconds = 10.0


def worker_environment() -> dict[str, str]:
    """Return the environment of worker processes.

    The malloc settings hand the memory of a large image back to the system once it is done. Libraries start no threads
    of their own, which would only compete with those of the engine.
    """
    return {
        **os.environ,
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(16 * MIB),
        "MALLOC_TRIM_THRESHOLD_": str(32 * MIB),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
