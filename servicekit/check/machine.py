"""Check folders and the limits of the machine or container."""

import asyncio
import resource
import tempfile
from pathlib import Path

from servicekit.check.findings import Check, Finding, failed, ok, warning
from servicekit.telemetry.metrics import free_bytes

# Connections, files and the pipes of child processes.
OPEN_FILES = 1024
# Files of Linux' control groups, version 2 and version 1.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
MIB = 1 << 20


def folder(path: Path, setting: str, *, needed: int) -> Check:
    """Return a check that a folder can be written and has `needed` bytes free. setting: the variable that names it."""

    async def check() -> Finding:
        try:
            await asyncio.to_thread(_try_to_write, path)
        except OSError as error:
            return failed(f"{path} cannot be written: {error.strerror}. Change its owner or {setting}.")
        free = free_bytes(path)
        text = f"{path}: {free // MIB:,} MiB free"
        return ok(text) if free >= needed else warning(f"{text}, {needed // MIB:,} MiB should be. See {setting}.")

    return check


def _try_to_write(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass


def limits(*, memory: int) -> Check:
    """Return a check of the limits of this process. memory: bytes that the service may need."""

    async def check() -> Finding:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= files < OPEN_FILES:
            return warning(
                f"Only {files} files may be open. Raise the limit (ulimit -n, LimitNOFILE) to {OPEN_FILES:,}."
            )
        limit = _memory_limit()
        if limit is not None and limit < memory:
            text = f"The memory limit is {limit // MIB:,} MiB, but {memory // MIB:,} MiB may be needed"
            return warning(f"{text}. Raise it, or lower the settings that end in _BYTES.")
        return ok("open files and memory")

    return check


def _memory_limit() -> int | None:
    """Return the bytes of memory that this container may use; None if there is no limit."""
    for file in MEMORY_LIMITS:
        try:
            text = file.read_text(encoding="ascii").strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None
