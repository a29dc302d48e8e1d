"""Which version runs."""

from importlib.metadata import version

VERSION = version("similis")
