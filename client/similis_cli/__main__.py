"""Runs the `similis` command, also as `python -m similis_cli`."""

import sys

from similis_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
