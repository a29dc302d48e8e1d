"""What the embedder makes of the machine: device, engine, processes and threads."""

from dataclasses import dataclass

from similis.embedder.config import EmbedderSettings
from similis.embedder.cores import usable_cores

# More processes than this cost memory; further processors are given to them as threads.
MAX_WORKERS = 8
IN_FLIGHT_PER_WORKER = 8


@dataclass(frozen=True)
class Hardware:
    """workers: processes that decode. threads: of the engine, in each of them. cores: that may be used in all."""

    device: str
    engine: str
    workers: int
    threads: int
    cores: int
    stream_in_flight: int


def chosen_hardware(settings: EmbedderSettings, cores: int | None = None) -> Hardware:
    """The settings, with what they leave open chosen for this machine."""
    cores = usable_cores() if cores is None else cores
    workers = settings.workers or min(cores, MAX_WORKERS)
    threads = settings.threads or max(1, cores // workers)
    engine = "onnxruntime" if settings.engine == "auto" else settings.engine
    return Hardware("cpu", engine, workers, threads, cores, IN_FLIGHT_PER_WORKER * workers)
