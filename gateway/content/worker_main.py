"""The content process: parse an upload outside the gateway's own process, where it would delay every search.

One process serves one upload, and imports only what parsing needs. It receives commands as frames with a JSON header
and answers each with a frame. It exits when the gateway hangs up.
"""

import json
import sys
from dataclasses import asdict

from gateway.content.commands import COMMANDS
from gateway.content.disk_errors import disk_errors
from servicekit.errors import ServiceError
from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back

# Searches come first.
NICENESS = 5


def answer(request: bytes) -> bytes:
    """Run the command in a frame's header and return the answer's header. A bug in a command ends the process."""
    name, arguments = json.loads(request)
    outcome: dict[str, object]
    try:
        with disk_errors():
            outcome = {"answer": asdict(COMMANDS[name](**arguments).run())}
    except ServiceError as error:
        outcome = {"error": {"kind": type(error).__name__, "code": error.code, "message": error.message}}
    return json.dumps(outcome).encode()


def main() -> int:
    """Serve until the gateway hangs up."""
    link = ParentLink.open(int(sys.argv[1]))
    step_back(NICENESS)
    try:
        while True:
            for request, _ in link.receive():
                link.send(answer(request))
    except (EOFError, ConnectionError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
