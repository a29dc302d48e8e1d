"""Faulty hosts in a process of their own: `python -m bench.parts.fault_server SIZE`.

Prints the ports of the three hosts. Answers each line on standard input with the number of requests for each picture.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from tests.integration.trainer.parts.fault_plan import FaultyHosts


async def serve(picture_size: int) -> None:
    """Serve until standard input ends."""
    async with AsyncExitStack() as stack:
        hosts = await FaultyHosts.serve(stack, picture_size)
        _say([hosts.main.port, hosts.limited.port, hosts.dead.port])
        while await asyncio.to_thread(sys.stdin.readline):
            _say(dict(hosts.main.pictures_served))


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
