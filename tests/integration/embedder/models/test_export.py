"""A converted model has the vectors of torch, and needs no network."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.backbones.builtin import builtin_source
from embedder.backbones.folder import folder_source
from embedder.backbones.source import BackboneError, BackboneSource
from embedder.canary import cosine
from embedder.decoding.resize import resize_and_crop
from embedder.engines.engine import Pixels
from embedder.engines.export import export
from embedder.engines.model_cache import MODEL
from embedder.engines.openvino_engine import OpenVinoEngine
from embedder.engines.torch_engine import TorchEngine
from tests.integration.embedder.models.checkpoints import CHECKPOINTS, save_checkpoint
from tests.unit.embedder.decoding.photographs import NAMES, photograph

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning"
)
CONNECTIONS_WHILE_EMBEDDING = """
import sys
from pathlib import Path

connections = []


def note(event, _):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        connections.append(event)


sys.addaudithook(note)
import numpy
from embedder.engines.openvino_engine import OpenVinoEngine

OpenVinoEngine(Path(sys.argv[1]), threads=1, all_threads=1).embed(numpy.zeros((1, 224, 224, 3), numpy.uint8))
print(len(connections))
"""


def photographs(source: BackboneSource) -> Pixels:
    return np.stack([resize_and_crop(photograph(name), source.preprocessing) for name in NAMES])


@pytest.fixture(scope="module")
def builtin_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("builtin")
    export(builtin_source(), folder)
    return folder / MODEL


# The conversion knows no antialiased interpolation, with which TIPSv2 adapts its positions to the size of an image.
@pytest.mark.parametrize("kind", [kind for kind in CHECKPOINTS if kind != "tipsv2"])
def test_a_converted_checkpoint_has_the_vectors_of_torch(kind: str, tmp_path: Path) -> None:
    source = folder_source(kind, save_checkpoint(kind, tmp_path / "model"))
    export(source, tmp_path)
    pixels = photographs(source)
    expected = TorchEngine(source, threads=1).embed(pixels)
    found = OpenVinoEngine(tmp_path / MODEL, threads=1, all_threads=1).embed(pixels)
    assert found.shape == (len(NAMES), source.dimension)
    assert min(cosine(a, b) for a, b in zip(expected, found, strict=True)) > 0.9999
    # A model that returned a constant would agree as well.
    assert not np.allclose(found[0], found[1], rtol=1e-3)


def test_the_converted_built_in_backbone_has_the_vectors_of_torch(builtin_model: Path) -> None:
    pixels = photographs(builtin_source())
    expected = TorchEngine(builtin_source(), threads=2).embed(pixels)
    engine = OpenVinoEngine(builtin_model, threads=1, all_threads=2)
    for all_cores in (False, True):
        found = engine.embed(pixels, all_cores=all_cores)
        assert min(cosine(a, b) for a, b in zip(expected, found, strict=True)) > 0.9999


def test_openvino_opens_no_connection(builtin_model: Path) -> None:
    """OpenVINO depends on a telemetry package, which only its own converter uses."""
    command = (sys.executable, "-c", CONNECTIONS_WHILE_EMBEDDING, str(builtin_model))
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "0\n"


def test_a_model_with_another_dimension_than_configured_is_refused(tmp_path: Path) -> None:
    source = folder_source("vit", save_checkpoint("vit", tmp_path / "model"))
    with pytest.raises(BackboneError, match="32 dimensions instead of 31"):
        export(replace(source, dimension=31), tmp_path)
