"""The version of this release, and where the software is described."""

from importlib.metadata import version

VERSION = version("similis")
# A placeholder. Before publishing, set the address of the project's page. Image hosts see it in the User-Agent.
HOMEPAGE = "https://similis.example/"
