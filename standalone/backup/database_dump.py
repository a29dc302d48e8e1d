"""The database in a file, by Postgres' own programs."""

import asyncio
import os
from pathlib import Path

from servicekit.process.service import StartupError
from standalone.postgres.binaries import program_directory


async def dump_database(url: str, snapshot: str, file: Path) -> None:
    """Write the database, as it was at a snapshot that another connection holds, to a new file. Raises StartupError."""
    await _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={file}", f"--dbname={url}")
    _make_durable(file)


async def load_database(url: str, file: Path) -> None:
    """Fill an empty database from a file, in one transaction. Raises StartupError."""
    options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    await _run("pg_restore", *options, f"--dbname={url}", str(file))


def _make_durable(file: Path) -> None:
    file.chmod(0o600)
    with file.open("rb") as written:
        os.fsync(written.fileno())


async def _run(program: str, *arguments: str) -> None:
    path = program_directory(None) / program
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        _, error = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise StartupError(f"{program} failed: {error.decode(errors='replace').strip() or process.returncode}")
