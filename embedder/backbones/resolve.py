"""From the configured name to the files of a backbone."""

from pathlib import Path

from embedder.backbones.builtin import NAME, builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.hub import download
from embedder.backbones.source import BackboneError, BackboneSource


def resolve_backbone(name: str, revision: str | None) -> BackboneSource:
    """The backbone of that name: the built-in one, a folder, else a model of the hub at that revision.

    Raises BackboneError, with one line that says what is wrong.
    """
    try:
        return _source(name, revision)
    except OSError as error:
        raise BackboneError(
            f"backbone {name!r}: {error.filename or 'its files'} cannot be read: {error.strerror or error}"
        ) from None


def _source(name: str, revision: str | None) -> BackboneSource:
    if name == NAME:
        return builtin_source()
    path = Path(name).expanduser()
    if path.is_dir() or name.startswith((".", "/", "~")):
        return folder_source(name, path)
    return folder_source(name, download(name, revision))
