"""Backbones: the right files, preprocessing, output and checksum, and one clear line for what cannot be served."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from embedder.backbones.builtin import builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.resolve import resolve_backbone
from embedder.backbones.source import BackboneError, BackboneSource
from embedder.backbones.vision_model import load_vision_model
from embedder.canary import cosine
from embedder.decoding.resize import resize_and_crop
from embedder.engines.export import export
from embedder.engines.model_cache import MODEL
from embedder.engines.openvino_engine import OpenVinoEngine
from embedder.engines.torch_engine import TorchEngine
from tests.unit.embedder.backbones.checkpoints import CHECKPOINTS, save_checkpoint
from tests.unit.embedder.decoding.photographs import NAMES, photograph

PIL_PROCESSORS = {
    "vit": "ViTImageProcessorPil",
    "dinov2": "BitImageProcessorPil",
    "clip": "CLIPImageProcessorPil",
    "siglip": "SiglipImageProcessorPil",
    "convnext": "ConvNextImageProcessorPil",
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    warnings.filterwarnings("ignore", category=UserWarning)


def photographs(source: BackboneSource) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.stack([resize_and_crop(photograph(name), source.preprocessing) for name in NAMES])


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_converted_checkpoint_equals_torch_on_photographs(kind: str, tmp_path: Path) -> None:
    source = folder_source(kind, save_checkpoint(kind, tmp_path / "model"))
    export(source, tmp_path)
    pixels = photographs(source)
    expected = TorchEngine(source, threads=1).embed(pixels)
    found = OpenVinoEngine(tmp_path / MODEL, threads=1, all_threads=1).embed(pixels)
    assert found.shape == (len(NAMES), source.dimension)
    assert min(cosine(a, b) for a, b in zip(expected, found, strict=True)) > 0.9999
    # The vectors tell photographs apart: it is no constant that agrees.
    assert not np.allclose(found[0], found[1], rtol=1e-3)


def test_the_built_in_backbone_equals_torch_on_photographs(tmp_path: Path) -> None:
    source = builtin_source()
    export(source, tmp_path)
    pixels = photographs(source)
    expected = TorchEngine(source, threads=2).embed(pixels)
    found = OpenVinoEngine(tmp_path / MODEL, threads=1, all_threads=2).embed(pixels, all_cores=True)
    assert min(cosine(a, b) for a, b in zip(expected, found, strict=True)) > 0.9999


def test_the_runtime_reaches_for_no_network(tmp_path: Path) -> None:
    """Its package brings one for telemetry, which only its own converter uses, and we do not."""
    export(builtin_source(), tmp_path)
    program = (
        "import sys; calls = []; sys.addaudithook(lambda event, _: calls.append(event) if event == 'socket.connect' "
        "or event == 'socket.getaddrinfo' or event == 'urllib.Request' else None); from pathlib import Path; "
        "import numpy; from embedder.engines.openvino_engine import OpenVinoEngine; "
        "engine = OpenVinoEngine(Path(sys.argv[1]), threads=1, all_threads=1); "
        "engine.embed(numpy.zeros((1, 224, 224, 3), numpy.uint8)); print(len(calls))"
    )
    command = (sys.executable, "-c", program, str(tmp_path / MODEL))
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "0\n"


@pytest.mark.parametrize("kind", PIL_PROCESSORS)
@pytest.mark.parametrize("size", [(500, 360), (361, 777), (40, 90)])
def test_preprocessing_is_that_of_the_model_s_own_processor(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    folder = save_checkpoint(kind, tmp_path)
    source = folder_source(kind, folder)
    processor = getattr(transformers, PIL_PROCESSORS[kind]).from_pretrained(folder)
    image = photograph("coffee.png").resize(size, Image.Resampling.BICUBIC)
    expected = processor(image, return_tensors="np")["pixel_values"][0]
    mean, std = np.float32(source.preprocessing.mean), np.float32(source.preprocessing.std)
    found = ((resize_and_crop(image, source.preprocessing) - mean) / std).transpose(2, 0, 1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.02


@pytest.mark.parametrize(
    ("kind", "pooling", "dimension"),
    [("vit", "cls", 32), ("dinov2", "cls", 32), ("clip", "projection", 24), ("convnext", "pooled", 32)],
)
def test_the_vector_is_the_documented_output(kind: str, pooling: str, dimension: int, tmp_path: Path) -> None:
    folder = save_checkpoint(kind, tmp_path)
    source = folder_source(kind, folder)
    assert (source.pooling, source.dimension) == (pooling, dimension)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = photographs(source)[:1]
    mean, std = torch.tensor(source.preprocessing.mean), torch.tensor(source.preprocessing.std)
    normalised = ((torch.from_numpy(pixels) - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        if kind == "clip":
            vision = model.vision_model(pixel_values=normalised).pooler_output
            expected = model.visual_projection(vision)
        else:
            output = model(pixel_values=normalised)
            expected = output.pooler_output if pooling == "pooled" else output.last_hidden_state[:, 0]
        found = load_vision_model(source)(torch.from_numpy(pixels))
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_checksum_follows_weights_and_preprocessing_only(tmp_path: Path) -> None:
    first = folder_source("a", save_checkpoint("vit", tmp_path / "one"))
    again = folder_source("b", save_checkpoint("vit", tmp_path / "two"))
    assert first.checksum == again.checksum
    path = tmp_path / "two" / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"resample": 2', '"resample": 3'))
    assert folder_source("b", tmp_path / "two").checksum != first.checksum
    weights = tmp_path / "one" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert folder_source("a", tmp_path / "one").checksum != first.checksum


def test_a_source_survives_the_way_to_another_process() -> None:
    assert BackboneSource.from_json(builtin_source().to_json()) == builtin_source()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def without_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def weights_that_lead_nowhere(folder: Path) -> None:
    """As in a cache of the hub from which the file itself was removed."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/gone")


def a_text_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))


def a_broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_weights, "safetensors"),
        (without_processor, "preprocessor_config.json is missing"),
        (without_configuration, "config.json is missing"),
        (weights_that_lead_nowhere, "model.safetensors cannot be read: No such file"),
        (a_text_model, "bert is not a known vision model"),
        (a_broken_configuration, "config.json cannot be read"),
    ],
)
def test_what_cannot_be_served_is_one_line(spoil: object, says: str, tmp_path: Path) -> None:
    save_checkpoint("vit", tmp_path)
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(BackboneError, match=says) as refused:
        resolve_backbone(str(tmp_path), None)
    assert "\n" not in str(refused.value)


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    source = folder_source("vit", save_checkpoint("vit", tmp_path))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BackboneError, match="cannot be loaded") as refused:
        load_vision_model(source)
    assert "\n" not in str(refused.value)


def test_a_model_that_gives_another_dimension_than_it_says_is_refused(tmp_path: Path) -> None:
    source = folder_source("vit", save_checkpoint("vit", tmp_path / "model"))
    with pytest.raises(BackboneError, match="gives 32 numbers"):
        export(replace(source, dimension=31), tmp_path)


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "abc123"])
def test_a_hub_name_needs_a_full_commit(revision: str | None) -> None:
    with pytest.raises(BackboneError, match="SIMILIS_BACKBONE_REVISION"):
        resolve_backbone("facebook/dinov2-base", revision)


def test_a_name_that_the_hub_never_gives_is_one_line() -> None:
    with pytest.raises(BackboneError, match="cannot be had from the hub"):
        resolve_backbone("museum/ti..ny", "0" * 40)


def test_a_model_of_the_hub_that_is_in_the_cache_needs_no_way_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    cached = save_checkpoint("vit", tmp_path / "models--museum--tiny" / "snapshots" / revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("socket.socket.connect", refused)
    source = resolve_backbone("museum/tiny", revision)
    assert (source.name, source.dimension) == ("museum/tiny", 32)
    assert Path(source.path or "").samefile(cached)
