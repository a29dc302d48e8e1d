"""Find the files of the configured backbone."""

from pathlib import Path

from embedder.backbones.builtin import NAME, builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.hub import download_model
from embedder.backbones.source import BackboneError, BackboneSource


def resolve_backbone(name: str, revision: str | None) -> BackboneSource:
    """Return the backbone called `name`: the built-in one, a folder, or a model of the hub at `revision`.

    Raises BackboneError.
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
    return folder_source(name, download_model(name, revision))
