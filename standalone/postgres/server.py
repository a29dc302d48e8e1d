"""Postgres as a child: creates its cluster and our database, and specifies how it runs."""

import asyncio
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from urllib.parse import quote

import asyncpg

from servicekit.process.service import StartupError
from servicekit.process.silence import Patience, Watch
from servicekit.telemetry.logs import get_logger
from standalone.instance.data_directory import DataDirectory
from standalone.postgres.binaries import account_for, program_directory
from standalone.postgres.damage import HERE, DamagedDatabase, Refusals, damage_in_last_words
from standalone.process.child_log import ChildLog
from standalone.process.supervisor import ChildSpec, RestartPolicy, describe_status
from standalone.process.tethered_process import Account, ChildCommand, spawn

log = get_logger(__name__)

PORT = 5432
SUPERUSER = "postgres"
OWNER = "similis"
DATABASE = "similis"
# Small, because the models need the memory. Everything that makes a commit durable stays on.
TUNING = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "max_connections": "60",
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    "max_wal_size": "512MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "huge_pages": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
GRACE_SECONDS = 30.0
MAX_RESTART_DELAY = 5.0
CONNECT_SECONDS = 5.0
CONNECT_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


def database_url(run_directory: Path, *, user: str = OWNER, database: str = DATABASE) -> str:
    """Return the URL of a database of the cluster. It contains no secret: access to the socket is enough."""
    return f"postgresql://{user}@/{database}?host={quote(str(run_directory / 'postgres'), safe='/')}&port={PORT}"


async def prepare_cluster(data: DataDirectory, output: ChildLog) -> None:
    """Create the cluster if there is none, and remove the leftovers of a killed run. Raises StartupError.

    The caller holds the data directory's locks, so no Postgres uses the cluster.
    """
    account = account_for(data.cluster)
    if data.cluster.exists():
        _check_version(data, program_directory(account))
        # The process that they name is gone, and its number may belong to another process by now.
        for leftover in ("postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (data.cluster / leftover).unlink(missing_ok=True)
        return
    if any(data.qdrant.iterdir()):
        raise DamagedDatabase(data, f"{data.cluster} is missing")
    new = data.postgres / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if account is not None:
        os.chown(new, account.uid, account.gid)
    await _initdb(new, account, output)
    new.replace(data.cluster)
    descriptor = os.open(data.postgres, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def postgres_spec(
    data: DataDirectory,
    run_directory: Path,
    *,
    max_restart_delay: float = MAX_RESTART_DELAY,
    patience: Patience | None = None,
) -> ChildSpec:
    """Return the server on a prepared cluster. It is ready when it accepts connections.

    max_restart_delay: the longest wait, in seconds, before it is started again; at most MAX_RESTART_DELAY.
    patience: how long it may be silent before it is started again; None: it is not watched.
    """

    refusals = Refusals(data)

    async def ready() -> bool:
        try:
            await _connect_once(run_directory)
        except asyncpg.PostgresError as error:
            refusals.note(error)
            return False
        except CONNECT_ERRORS:
            return False
        return True

    async def alive() -> bool:
        try:
            await _connect_once(run_directory)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            # It answers, for example that it recovers, or that it has no connection left.
            return True
        return True

    account = account_for(data.cluster)
    settings = [argument for name, value in TUNING.items() for argument in ("-c", f"{name}={value}")]
    command = ChildCommand(
        arguments=(str(program_directory(account) / "postgres"), "-D", HERE, *settings),
        environment=_environment(),
        directory=data.cluster,
        account=account,
        # Ends its own children too, at once. Commits are safe in the log.
        death_signal=signal.SIGQUIT,
    )
    return ChildSpec(
        name="postgres",
        command=command,
        ready=ready,
        grace_seconds=GRACE_SECONDS,
        # The fast shutdown: closes connections and writes everything to disk.
        stop_signal=signal.SIGINT,
        policy=RestartPolicy(0.1, min(max_restart_delay, MAX_RESTART_DELAY), start_attempts=1),
        inherited=(data.children_lock,),
        watch=None if patience is None else Watch(alive, patience),
        explain=partial(damage_in_last_words, data),
    )


async def ensure_database(run_directory: Path) -> None:
    """Create the services' role and database if they do not exist. Raises StartupError."""
    try:
        await _ensure_database(run_directory)
    except CONNECT_ERRORS as error:
        raise StartupError(f"cannot use the database: {str(error) or 'it does not respond'}") from error


async def _ensure_database(run_directory: Path) -> None:
    connection = await _connect(run_directory)
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", OWNER):
            await connection.execute(f"CREATE ROLE {OWNER} LOGIN")
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def _connect(run_directory: Path) -> asyncpg.Connection:
    url = database_url(run_directory, user=SUPERUSER, database="postgres")
    return await asyncpg.connect(url, timeout=CONNECT_SECONDS, command_timeout=CONNECT_SECONDS)


async def _connect_once(run_directory: Path) -> None:
    connection = await _connect(run_directory)
    await connection.close(timeout=CONNECT_SECONDS)


async def _initdb(cluster: Path, account: Account | None, output: ChildLog) -> None:
    options = ("--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions")
    arguments = (str(program_directory(account) / "initdb"), "-D", HERE, "-U", SUPERUSER, *options)
    process = await spawn(ChildCommand(arguments, _environment(), cluster, account), output)
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if status != 0:
        raise StartupError(f"cannot create the database ({describe_status(status)}): {output.reason()}")


def _check_version(data: DataDirectory, directory: Path) -> None:
    path = data.cluster / "PG_VERSION"
    try:
        found = path.read_bytes().strip().decode("ascii", "replace")
    except OSError as error:
        raise DamagedDatabase(data, f"cannot read {path}: {error.strerror}") from None
    if not found.isdecimal():
        raise DamagedDatabase(data, f"{path} does not name a version")
    share = directory.parent / "share" / "postgres.bki"
    with share.open(encoding="ascii") as file:
        ours = file.readline().split()[-1]
    if found != ours:
        raise StartupError(f"the database in {data.cluster} was created by Postgres {found}, this is Postgres {ours}")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C"}
