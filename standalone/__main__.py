"""`similis`, and `python -m standalone`."""

import sys

from standalone import cli


def main() -> int:
    """Runs the command that the process was started with; gives the exit status."""
    return cli.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
