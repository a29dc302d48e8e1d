"""What the embedder needs, for `similis check embedder`."""

import asyncio
import os
from collections.abc import Mapping

from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError
from embedder.config import EmbedderSettings
from servicekit.check.certificates import authorities, own_certificate
from servicekit.check.findings import Check, Finding, failed, ok
from servicekit.check.machine import folder, limits

# docs/scaling.md: each worker, and the queues.
WORKER_BYTES = 90 << 20
MODEL_BYTES = 1 << 30


def checks(settings: EmbedderSettings) -> Mapping[str, Check]:
    """Return the checks by name."""
    workers = settings.workers or len(os.sched_getaffinity(0))
    queues = settings.interactive_queue_bytes + settings.bulk_queue_bytes
    found = {
        "backbone": _backbone(settings),
        "model cache": folder(settings.model_cache, "SIMILIS_MODEL_CACHE", needed=MODEL_BYTES),
        "limits": limits(memory=workers * WORKER_BYTES + queues + settings.decode_memory_bytes),
    }
    if settings.tls is not None:
        found["certificate"] = own_certificate(settings.tls)
        found["authorities"] = authorities(settings.tls.authorities, "SIMILIS_TLS_CA_FILE")
    return found


def _backbone(settings: EmbedderSettings) -> Check:
    async def check() -> Finding:
        try:
            source = await asyncio.to_thread(resolve_backbone, settings.backbone, settings.backbone_revision)
        except BackboneError as error:
            return failed(f"{error}. See SIMILIS_BACKBONE.")
        return ok(f"{source.name}, {source.dimension} dimensions")

    return check
