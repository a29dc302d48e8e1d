"""`python run_help.py FOLDER COMMAND.py …`: run each command with `--help`, as `python COMMAND.py --help` would.

Each command runs in a fork of this process, which has imported only packages of others. So the commands share the time
for that, and none of them finds our modules already imported. FOLDER gets the output and the errors of each.
"""

import os
import runpy
import sys
import traceback
from pathlib import Path

import aiohttp.web  # noqa: F401
import asyncpg  # noqa: F401
import grpc.aio  # noqa: F401
import numpy  # noqa: F401
import opentelemetry.trace  # noqa: F401
import PIL.Image  # noqa: F401
import prometheus_client  # noqa: F401
import psutil  # noqa: F401
import pydantic_settings  # noqa: F401
import qdrant_client  # noqa: F401
import structlog  # noqa: F401
import torch  # noqa: F401


def run(command: Path, folder: Path) -> int:
    """Run one command in a child process and return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for number, suffix in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{command.stem}.{suffix}", os.O_CREAT | os.O_WRONLY), number)
    status = 1
    try:
        sys.argv = [str(command), "--help"]
        sys.path[0] = str(command.parent)
        runpy.run_path(str(command), run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Unloading all packages would take longer than the command.
    os._exit(status)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for path in map(Path, sys.argv[2:]):
        (folder / f"{path.stem}.status").write_text(str(run(path, folder)))
