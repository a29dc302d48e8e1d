"""The version of this release, and where the software is described."""

from importlib.metadata import version

VERSION = version("similis")
# Image hosts see it in the User-Agent. Whoever publishes the software puts the address of its page here.
HOMEPAGE = "https://similis.example/"
