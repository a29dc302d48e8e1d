"""Models of the Hugging Face hub: one revision, its configuration and its safetensors, nothing that is code."""

import re
from pathlib import Path

from embedder.backbones.source import BackboneError

COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w.-]+/[\w.-]+")
FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


def download(name: str, revision: str | None) -> Path:
    """The folder of a model at a commit, from the local cache or the hub.

    Raises BackboneError: no such name, no pinned revision, or the hub is out of reach.
    """
    if NAME.fullmatch(name) is None:
        raise BackboneError(f"backbone {name!r} is neither a built-in one, nor a folder, nor a hub name (owner/model)")
    if revision is None or COMMIT.fullmatch(revision) is None:
        raise BackboneError(f"backbone {name!r}: SIMILIS_BACKBONE_REVISION must be the full commit hash of the model")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(*, local: bool) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=local))

    try:
        try:
            return snapshot(local=True)
        except LocalEntryNotFoundError:
            return snapshot(local=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(f"backbone {name!r} cannot be had from the hub: {reason}") from None
