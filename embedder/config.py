"""Settings of the embedder. Each field is read from SIMILIS_<FIELD>; its description is for `docs/configuration.md`."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from servicekit.settings import RpcServerSettings

MIB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def default_model_cache() -> Path:
    """Return the default folder for converted models, in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "similis" / "models"


class EmbedderSettings(RpcServerSettings):
    """Address, backbone, hardware and limits of one embedder. 0 means "chosen to fit the hardware"."""

    listen: str = "127.0.0.1:9001"
    """Host and port of the gRPC server, or `unix:PATH`."""
    metrics_host: str = "127.0.0.1"
    """Address that `/metrics` listens on, if `SIMILIS_METRICS_PORT` is set."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Serve `/metrics` on this port. 0 picks a free one. Default: no metrics over HTTP."""

    backbone: str = "efficientnet-lite0"
    """The model: `efficientnet-lite0`, a folder with a transformers checkpoint, or the name of a model on the hub."""
    backbone_revision: str | None = None
    """For a model on the hub: the full commit hash to load. Required there."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the backbone runs."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """What runs the backbone."""
    pipeline: Literal["auto", "fused", "staged"] = "auto"
    """`fused`: each worker decodes and runs the backbone. `staged`: workers decode, one process runs the backbone in
    batches."""
    model_cache: Path = Field(default_factory=default_model_cache)
    """Folder for converted models. Default: `similis/models` in the user's cache folder."""

    workers: Annotated[int, Field(ge=0)] = 0
    """Number of worker processes. 0: chosen for the number of cores."""
    interactive_workers: Annotated[int, Field(ge=0)] | None = None
    """Additional workers of the fused pipeline that serve searches only. 0: searches share the others, and go first.
    Default: one for each core, at most 2."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the engine in each process. 0: chosen for the number of cores."""
    max_batch: Annotated[int, Field(ge=0)] = 0
    """The most images in a batch. 0: chosen for the device."""
    batch_age_ms: Annotated[float, Field(ge=0)] = 4.0
    """How long a batch waits for more images, in milliseconds."""

    max_image_bytes: Count = 20 * MIB
    """The largest encoded image. Set it in the gateway and the trainer too."""
    max_image_pixels: Count = 50_000_000
    """The most pixels in an image, by its header."""
    max_views: Count = 16
    """The most augmented views that a call may request for one image."""
    decode_memory_bytes: Count = 448 * MIB
    """Memory for decoding one image. Larger images are refused."""
    item_seconds: Seconds = 20.0
    """How long one image may take in a worker. The worker is replaced after that."""

    image_cpu_seconds: Seconds = 2.0
    """CPU time that decoding one image of a search may take. An image that takes longer is refused."""
    bulk_image_cpu_seconds: Seconds = 10.0
    """CPU time that decoding one image of a finetune, with its views, may take."""

    interactive_queue: Count = 128
    """How many images of searches may wait."""
    interactive_queue_bytes: Count = 64 * MIB
    """How many bytes of images of searches may wait."""
    bulk_queue: Count = 256
    """How many images of finetunes may wait."""
    bulk_queue_bytes: Count = 64 * MIB
    """How many bytes of images of finetunes may wait."""
    stream_in_flight: Annotated[int, Field(ge=0)] = 0
    """How many images of one stream are accepted at a time. 0: chosen for the hardware."""
    request_seconds: Seconds = 60.0
    """Deadline of a call for one image, if the caller sets none."""
    bulk_seconds: Seconds = 600.0
    """How long an image of a finetune may wait and be embedded."""

    worker_images: Count = 20_000
    """Number of images after which a worker process is replaced."""
    worker_memory_bytes: Count = 1024 * MIB
    """Resident memory above which a worker process is replaced."""
    canary_seconds: Seconds = 10.0
    """If no image has been embedded for this long, embed a known one as a check. If that fails, report not ready."""


def worker_environment() -> dict[str, str]:
    """Return the environment of worker processes.

    The malloc settings return the memory of a large image to the system as soon as it is done. Libraries get no threads
    of their own, because these would only compete with the threads of the engine.
    """
    return {
        **os.environ,
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(16 * MIB),
        "MALLOC_TRIM_THRESHOLD_": str(32 * MIB),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
