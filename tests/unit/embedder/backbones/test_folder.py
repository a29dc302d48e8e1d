"""A folder with a transformers model: its checksum, and one clear line for every folder that cannot be served."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.backbones.builtin import builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError, BackboneSource
from tests.unit.embedder.backbones.vit_folder import save_vit_folder


def test_the_checksum_depends_on_weights_and_preprocessing_only(tmp_path: Path) -> None:
    first = folder_source("a", save_vit_folder(tmp_path / "one"))
    again = folder_source("b", save_vit_folder(tmp_path / "two"))
    assert first.checksum == again.checksum
    path = tmp_path / "two" / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"resample": 2', '"resample": 3'))
    assert folder_source("b", tmp_path / "two").checksum != first.checksum
    weights = tmp_path / "one" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert folder_source("a", tmp_path / "one").checksum != first.checksum


def test_a_source_is_the_same_after_json() -> None:
    assert BackboneSource.from_json(builtin_source().to_json()) == builtin_source()


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def remove_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def remove_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def break_link_to_weights(folder: Path) -> None:
    """Leave the folder as the hub's cache looks after its blobs were deleted."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/gone")


def write_text_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))


def break_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def remove_resize(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_resize": False}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_weights, "safetensors"),
        (remove_processor, "preprocessor_config.json is missing"),
        (remove_configuration, "config.json is missing"),
        (break_link_to_weights, "model.safetensors cannot be read: No such file"),
        (write_text_model, "'bert' is not supported"),
        (break_configuration, "config.json cannot be read"),
        (remove_resize, "no fixed size"),
    ],
)
def test_an_unsupported_folder_is_reported_in_one_line(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    save_vit_folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(BackboneError, match=message) as refused:
        resolve_backbone(str(tmp_path), None)
    assert "\n" not in str(refused.value)
