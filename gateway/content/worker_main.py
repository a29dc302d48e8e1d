"""The process that reads contents: parsing a million rows would hold up every search if the gateway did it itself.

One lives for each upload that is being processed, and imports nothing but what parsing needs. It takes a command as a
line of JSON on standard input and answers with one on standard output. It ends with its input: when the gateway lets
it go, and when the gateway dies.
"""

import errno
import json
import signal
import sys

from gateway.content.commands import COMMANDS, Answer
from servicekit import errors
from servicekit.process.priority import step_back

# Searches come first.
NICENESS = 5
FULL = (errno.ENOSPC, errno.EDQUOT)


def answer(line: str) -> Answer:
    """Carries out the command in a line; a refusal becomes an answer too. Defects end the process."""
    given: Answer = json.loads(line)
    try:
        return COMMANDS[str(given["command"])](given)
    except errors.ServiceError as error:
        return {"error": type(error).__name__, "code": error.code, "message": error.message}
    except OSError as error:
        if error.errno not in FULL:
            raise
        return {"error": "NoSpace", "code": "no_space", "message": "The disk is full."}


def main() -> int:
    """Serves until standard input ends."""
    step_back(NICENESS)
    # Ctrl-C is for the gateway, which lets its uploads end first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
