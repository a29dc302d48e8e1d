"""What the trainer needs, for `similis check trainer`."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from catalog.store_checks import store_checks
from servicekit.check.certificates import authorities, own_certificate
from servicekit.check.connections import grpc_service
from servicekit.check.downloads import download_checks
from servicekit.check.findings import Check
from servicekit.check.machine import folder, limits
from trainer.config import TrainerSettings
from trainer.embed.client import SERVICE as EMBEDDER

# docs/scaling.md: the fit of a large sample, and the sample on disk.
MEMORY_BYTES = 2 << 30
SAMPLE_BYTES = 256 << 20


def checks(settings: TrainerSettings) -> Mapping[str, Check]:
    """Return the checks by name."""
    found = store_checks(
        settings, connections=settings.database_connections, prefix=settings.vector_prefix, writes=True
    )
    found["embedder"] = grpc_service("embedder", settings.embedder_address, EMBEDDER, settings.tls)
    if settings.tls is not None:
        found["certificate"] = own_certificate(settings.tls)
        found["authorities"] = authorities(settings.tls.authorities, "SIMILIS_TLS_CA_FILE")
    found |= download_checks(settings)
    found["temporary files"] = folder(Path(tempfile.gettempdir()), "TMPDIR", needed=SAMPLE_BYTES)
    found["limits"] = limits(memory=MEMORY_BYTES)
    return found
