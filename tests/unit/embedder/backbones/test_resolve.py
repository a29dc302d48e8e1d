"""A configured name leads to a folder or to a pinned model of the hub, and a wrong one to one clear line."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedder.backbones.hub import download_model
from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError
from tests.unit.embedder.backbones.vit_folder import save_vit_folder


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "abc123"])
def test_a_hub_name_needs_a_full_commit_hash(revision: str | None) -> None:
    with pytest.raises(BackboneError, match="SIMILIS_BACKBONE_REVISION"):
        resolve_backbone("facebook/dinov2-base", revision)


def test_a_name_that_the_hub_rejects_is_reported_in_one_line() -> None:
    with pytest.raises(BackboneError, match="could not be downloaded from the hub") as refused:
        resolve_backbone("museum/ti..ny", "0" * 40)
    assert "\n" not in str(refused.value)


def test_a_cached_model_of_the_hub_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    cached = save_vit_folder(tmp_path / "models--museum--tiny" / "snapshots" / revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("connected to the hub")

    monkeypatch.setattr("socket.socket.connect", refuse)
    source = resolve_backbone("museum/tiny", revision)
    assert (source.name, source.dimension) == ("museum/tiny", 32)
    assert Path(source.path).samefile(cached)


@pytest.mark.parametrize(("model_type", "asks"), [("clip", True), ("vit", False)])
@pytest.mark.parametrize("hub_responds", [True, False])
def test_a_cached_model_with_a_text_tower_gets_the_tokenizer_that_it_lacks(
    model_type: str, asks: bool, hub_responds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    calls: list[dict[str, Any]] = []

    def snapshot_download(_: str, **options: Any) -> str:
        calls.append(options)
        if not options["local_files_only"] and not hub_responds:
            raise OSError("the hub does not respond")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert download_model("museum/tiny", "0" * 40) == tmp_path
    assert [call["local_files_only"] for call in calls] == ([True, False] if asks else [True])
    assert "tokenizer.json" in calls[0]["allow_patterns"]
