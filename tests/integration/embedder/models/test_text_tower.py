"""The text tower of a backbone returns what transformers return, for the tokens of the checkpoint's tokenizer."""

from pathlib import Path

import pytest
import torch
import transformers

from embedder.backbones.folder import folder_source
from embedder.backbones.source import BackboneError
from embedder.backbones.text_tower import TextTower
from tests.integration.embedder.models.checkpoints import WORDS, save_checkpoint, save_text_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
TEXT = "a photo of a red coin"
MOST_TOKENS = 16
PAD, BEGIN, END = 1, 2, 3


def tokens(text: str) -> list[int]:
    return [BEGIN, *(WORDS.index(word) for word in text.split()), END]


def features(kind: str, folder: Path, ids: list[int]) -> torch.Tensor:
    """Return the vector that transformers compute as its documentation says."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    padded = ids + [PAD] * (MOST_TOKENS - len(ids)) if kind != "clip" else ids
    mask = {"attention_mask": torch.tensor([[int(token != PAD) for token in padded]])} if kind == "tipsv2" else {}
    with torch.inference_mode():
        output = model.get_text_features(torch.tensor([padded]), **mask)
    vectors: torch.Tensor = output.pooler_output
    return vectors


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "tipsv2"])
def test_a_text_has_the_vector_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = save_text_checkpoint(kind, tmp_path)
    source = folder_source(kind, folder)
    assert source.text_tokens == MOST_TOKENS
    embedded = TextTower(source, threads=1).embed(TEXT)
    assert embedded.vectors.shape == (1, source.dimension)
    assert embedded.read_characters == len(TEXT)
    expected = features(kind, folder, tokens(TEXT))
    assert torch.allclose(torch.from_numpy(embedded.vectors), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_end_of_a_long_text_is_left_out(kind: str, tmp_path: Path) -> None:
    folder = save_text_checkpoint(kind, tmp_path)
    tower = TextTower(folder_source(kind, folder), threads=1)
    read = " ".join(["red coin"] * 7)
    embedded = tower.embed(f"{read} of a horse")
    assert embedded.read_characters == len(read)
    assert torch.allclose(torch.from_numpy(embedded.vectors), features(kind, folder, tokens(read)), atol=1e-5)


def test_siglip_gets_texts_in_lower_case(tmp_path: Path) -> None:
    tower = TextTower(folder_source("siglip", save_text_checkpoint("siglip", tmp_path)), threads=1)
    assert (tower.embed(TEXT.upper()).vectors == tower.embed(TEXT).vectors).all()


def test_a_checkpoint_without_a_tokenizer_embeds_images_only(tmp_path: Path) -> None:
    assert folder_source("clip", save_checkpoint("clip", tmp_path)).text_tokens == 0
    (tmp_path / "tokenizer.json").write_text("{}")
    assert folder_source("clip", tmp_path).text_tokens == MOST_TOKENS


def test_a_vision_model_with_a_tokenizer_embeds_images_only(tmp_path: Path) -> None:
    folder = save_checkpoint("vit", tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    assert folder_source("vit", folder).text_tokens == 0


def test_a_damaged_tokenizer_is_reported_in_one_line(tmp_path: Path) -> None:
    folder = save_text_checkpoint("clip", tmp_path)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BackboneError, match="the text tower of 'clip' could not be loaded") as refused:
        TextTower(folder_source("clip", folder), threads=1)
    assert "\n" not in str(refused.value)
