"""The process that reads contents: parsing a million rows in the gateway itself would hold up every search.

One process serves one upload, and imports only what parsing needs. It receives commands as frames with a JSON header
and answers each with a frame. It exits when the gateway hangs up.
"""

import errno
import json
import sys
from dataclasses import asdict

from gateway.content.commands import COMMANDS
from servicekit import errors
from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back

# Searches come first.
NICENESS = 5
FULL = (errno.ENOSPC, errno.EDQUOT)


def answer(request: bytes) -> bytes:
    """Run the command in a frame's header and return the answer's header. A defect ends the process."""
    name, arguments = json.loads(request)
    try:
        outcome = {"answer": asdict(COMMANDS[name](**arguments).run())}
    except errors.ServiceError as error:
        outcome = _refusal(error)
    except OSError as error:
        if error.errno not in FULL:
            raise
        outcome = _refusal(errors.NoSpace("The disk is full."))
    return json.dumps(outcome).encode()


def _refusal(error: errors.ServiceError) -> dict[str, dict[str, object]]:
    return {"refusal": {"kind": type(error).__name__, "code": error.code, "message": error.message}}


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
