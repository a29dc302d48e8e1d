"""`similis`, and `python -m similis.standalone`."""

import sys

from similis.standalone import cli


def main() -> int:
    """Runs the command that the process was started with; gives the exit status."""
    return cli.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
