"""What the gateway needs, for `similis check gateway`."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from catalog.store_checks import store_checks
from gateway.config import GatewaySettings
from gateway.upstreams.embedder import SERVICE as EMBEDDER
from gateway.upstreams.trainer import SERVICE as TRAINER
from servicekit.check.certificates import authorities, own_certificate
from servicekit.check.connections import grpc_service
from servicekit.check.downloads import download_checks
from servicekit.check.findings import Check, Finding, Level, warning
from servicekit.check.machine import folder, limits

# docs/scaling.md: the process itself, and the spool of the uploads that are received and processed at a time.
PROCESS_BYTES = 110 << 20
SPOOL_BYTES = 4 << 30


def checks(settings: GatewaySettings) -> Mapping[str, Check]:
    """Return the checks by name."""
    found = store_checks(
        settings, connections=settings.database_connections, prefix=settings.vector_prefix, writes=False
    )
    found["embedder"] = grpc_service("embedder", settings.embedder_address, EMBEDDER, settings.tls)
    found["trainer"] = _trainer(settings)
    if settings.tls is not None:
        found["certificate"] = own_certificate(settings.tls)
        found["authorities"] = authorities(settings.tls.authorities, "SIMILIS_TLS_CA_FILE")
    spool = settings.spool_directory or Path(tempfile.gettempdir())
    found["spool"] = folder(spool, "SIMILIS_SPOOL_DIRECTORY", needed=SPOOL_BYTES)
    if settings.data_directory is not None:
        found["disk"] = folder(settings.data_directory, "SIMILIS_DATA_DIRECTORY", needed=settings.min_free_disk_bytes)
    found |= download_checks(settings)
    caches = settings.adapter_cache_bytes + settings.held_vector_bytes
    found["limits"] = limits(memory=PROCESS_BYTES + settings.body_memory_bytes + caches)
    return found


def _trainer(settings: GatewaySettings) -> Check:
    """Return a check of the trainer. Without one, finetunes wait, but everything else works."""
    check = grpc_service("trainer", settings.trainer_address, TRAINER, settings.tls)

    async def checked() -> Finding:
        found = await check()
        if found.level is not Level.FAILED:
            return found
        return warning(f"{found.text} Finetunes wait until a trainer is ready.")

    return checked
