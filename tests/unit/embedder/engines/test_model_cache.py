"""The cache of converted models."""

from pathlib import Path

import pytest

from embedder.backbones.builtin import builtin_source
from embedder.backbones.source import BackboneSource
from embedder.engines import model_cache


async def test_embedders_of_other_users_can_read_a_converted_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a volume, and would otherwise try to replace the model, which they may not."""

    async def export(source: BackboneSource, folder: Path, environment: dict[str, str]) -> None:
        for name in (model_cache.MODEL, model_cache.CANARY):
            (folder / name).write_bytes(b"converted")

    monkeypatch.setattr(model_cache, "_export", export)
    converted = await model_cache.converted_model(builtin_source(), tmp_path, {})
    assert converted.model.parent.stat().st_mode & 0o055 == 0o055
    for path in converted.model.parent.iterdir():
        assert path.stat().st_mode & 0o044 == 0o044, path
