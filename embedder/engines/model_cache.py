"""The cache of converted models on disk, by the checksum of the backbone and the versions of the libraries."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from embedder.backbones.source import BackboneError, BackboneSource
from servicekit.telemetry.logs import get_logger

log = get_logger(__name__)

MANIFEST, MODEL, CANARY = "manifest.json", "model.onnx", "canary.npy"
# Increase this when the conversion changes, so that models of earlier releases are converted again.
CONVERSION = 2
EXPORT_MODULE = "embedder.engines.export"


@dataclass(frozen=True)
class ConvertedModel:
    """The files of a converted model. canary: the vector that torch computes for the canary image."""

    model: Path
    canary: Path


async def converted_model(source: BackboneSource, cache: Path, environment: dict[str, str]) -> ConvertedModel:
    """Return the backbone converted for OpenVINO, from `cache` or converted now, which takes seconds to a minute.

    A damaged copy is replaced. Raises BackboneError if the conversion fails or the cache is not writable.
    """
    folder = cache / _key(source)
    if await asyncio.to_thread(_is_intact, folder):
        return ConvertedModel(folder / MODEL, folder / CANARY)
    try:
        fresh = await asyncio.to_thread(_new_folder, cache)
    except OSError as error:
        raise _not_writable(cache, error) from None
    try:
        log.info("backbone_conversion_started", backbone=source.name)
        await _export(source, fresh, environment)
        await asyncio.to_thread(_publish, fresh, folder)
    except OSError as error:
        raise _not_writable(cache, error) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    log.info("backbone_converted", backbone=source.name, folder=folder.name)
    return ConvertedModel(folder / MODEL, folder / CANARY)


def _not_writable(cache: Path, error: OSError) -> BackboneError:
    return BackboneError(f"the model cache {cache} is not writable: {error.strerror}")


def _key(source: BackboneSource) -> str:
    versions = f"{CONVERSION} {version('torch')} {version('openvino')} {version('transformers')}"
    return f"onnx-{source.checksum[:24]}-{hashlib.sha256(versions.encode()).hexdigest()[:8]}"


async def _export(source: BackboneSource, folder: Path, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", EXPORT_MODULE, str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        _, stderr = await process.communicate(source.to_json().encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        lines = stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"the conversion exited with status {process.returncode}"
        advice = "SIMILIS_ENGINE=torch runs it without a conversion."
        raise BackboneError(f"backbone {source.name!r} could not be converted: {reason.rstrip('.')}. {advice}")


def _new_folder(cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".converting-", dir=cache))


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def _is_intact(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {MODEL, CANARY} <= manifest.keys() and bool(manifest == _digests(folder))
    except (OSError, ValueError, AttributeError):
        return False


def _publish(fresh: Path, folder: Path) -> None:
    """Flush the files to disk and rename the folder, unless another process was faster."""
    # Temporary folders are private, but embedders that run as another user may share the cache.
    fresh.chmod(0o755)
    (fresh / MANIFEST).write_text(json.dumps(_digests(fresh)), encoding="utf-8")
    for path in (*fresh.iterdir(), fresh):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if folder.exists() and not _is_intact(folder):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        fresh.rename(folder)
    except OSError:
        if not _is_intact(folder):
            raise
