"""Prepare the backbone before an embedder needs it: `python -m embedder.prefetch`.

Takes the settings of the embedder, downloads the backbone if necessary and converts it into the model cache. Use it if
several embedders share a cache, or if the embedder itself cannot reach the hub.
"""

import asyncio
import sys

from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError
from embedder.config import EmbedderSettings, worker_environment
from embedder.engines.model_cache import converted_model
from embedder.hardware import HardwareError, has_cuda, plan_hardware
from servicekit.process.service import EXIT_CONFIG
from servicekit.settings import SettingsError, load_settings
from servicekit.telemetry.logs import configure_logging, get_logger

# `__name__` is `__main__` here.
log = get_logger("embedder.prefetch")


async def prefetch(settings: EmbedderSettings) -> None:
    """Bring the backbone into the cache. Raises BackboneError and HardwareError."""
    source = await asyncio.to_thread(resolve_backbone, settings.backbone, settings.backbone_revision)
    plan = plan_hardware(settings, cuda=await has_cuda(settings.device, worker_environment()))
    # torch needs no conversion.
    if plan.engine != "torch":
        await converted_model(source, settings.model_cache, worker_environment())
    log.info("backbone_prefetched", backbone=source.name, checksum=source.checksum, cache=str(settings.model_cache))


def main() -> int:
    """Return the exit status: 0, 78 for a wrong setting, or 1 after one line on standard error for other failures."""
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
