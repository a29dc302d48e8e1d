"""Download a model from the hub: the configuration, tokenizer and weights of one commit, and never code."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from embedder.backbones.folder import TOKENIZER, has_text_tower
from embedder.backbones.source import BackboneError, WrongBackbone

COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w.-]+/[\w.-]+")
FILES = (
    *("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"),
    *(TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)


def download_model(name: str, revision: str | None) -> Path:
    """Return the folder of a model at a commit, from the local cache if it is there.

    Raises BackboneError for an unknown name, a revision that is not a commit, or a failed download.
    """
    if NAME.fullmatch(name) is None:
        raise WrongBackbone(f"backbone {name!r} is not built in, not a folder, and not a hub name (owner/model)")
    if revision is None or COMMIT.fullmatch(revision) is None:
        raise WrongBackbone(f"backbone {name!r}: set SIMILIS_BACKBONE_REVISION to the full commit hash of the model")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(*, local: bool) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=local))

    try:
        try:
            folder = snapshot(local=True)
        except LocalEntryNotFoundError:
            return snapshot(local=False)
        return _with_tokenizer(folder, lambda: snapshot(local=False))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(f"backbone {name!r} could not be downloaded from the hub: {reason}") from None


def _with_tokenizer(folder: Path, download: Callable[[], Path]) -> Path:
    """Return the folder of a model, completed if an earlier release left its tokenizer out and the hub responds."""
    if (folder / TOKENIZER).exists() or not _has_text_tower(folder):
        return folder
    try:
        return download()
    except Exception:
        return folder


def _has_text_tower(folder: Path) -> bool:
    try:
        return has_text_tower(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return False
