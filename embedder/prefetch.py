"""`python -m embedder.prefetch`: has the backbone on disk before an embedder needs it.

What is configured as for the embedder is resolved, downloaded if need be, and converted into the model cache. Run it
where several embedders share a cache, or where the one that serves may not reach the hub.
"""

import asyncio
import sys

from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError
from embedder.config import EmbedderSettings, worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import HardwareError, chosen_hardware, has_cuda
from servicekit.process.service import EXIT_CONFIG
from servicekit.settings import SettingsError, load_settings
from servicekit.telemetry.logs import configure_logging, get_logger

# Its own name is `__main__` when it runs.
log = get_logger("embedder.prefetch")


async def prefetch(settings: EmbedderSettings) -> None:
    """Returns when the backbone is in the cache. Raises BackboneError, and HardwareError for settings of no machine."""
    source = await asyncio.to_thread(resolve_backbone, settings.backbone, settings.backbone_revision)
    hardware = chosen_hardware(settings, await has_cuda(settings.device, worker_environment()))
    # torch runs what was resolved as it is.
    if hardware.engine != "torch":
        await converted_model(source, settings.model_cache, worker_environment())
    log.info("backbone_prefetched", backbone=source.name, checksum=source.checksum, cache=str(settings.model_cache))


def main() -> int:
    """Gives the exit status: 0, 78 for a wrong setting, 1 with one line on standard error for what else went wrong."""
    try:
        settings = load_settings(EmbedderSettings)
        configure_logging("prefetch", level=settings.log_level, log_format=settings.log_format)
    except (SettingsError, ValueError) as error:
        sys.stderr.write(f"prefetch: {error}\n")
        return EXIT_CONFIG
    try:
        asyncio.run(prefetch(settings))
    except (BackboneError, HardwareError) as error:
        sys.stderr.write(f"prefetch: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
