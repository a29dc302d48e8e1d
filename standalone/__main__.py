"""Runs the `similis` command, also as `python -m standalone`."""

import sys

from standalone import cli


def main() -> int:
    """Run the command of this process's command line and return the exit status."""
    return cli.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
