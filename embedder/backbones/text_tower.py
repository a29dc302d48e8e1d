"""The text tower of a backbone: a text in, a vector out, in the same space as the vectors of images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from embedder.backbones.source import BackboneError, BackboneSource
from embedder.engines.engine import Vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerBase

# The parts of a model that only images need.
VISION_PARTS = ("vision_model", "visual_projection")
# These models were trained with texts that are padded to the full length, without a mask, in lower case. The published
# tokenizers of SigLIP 2 do not change the case themselves.
PADDED = frozenset({"siglip"})


@dataclass(frozen=True)
class EmbeddedText:
    """The vectors [1, dimension] of a text. read_characters: how many of its characters count."""

    vectors: Vectors
    read_characters: int


class TextTower:
    """Embeds texts with torch on the CPU, in float32."""

    def __init__(self, source: BackboneSource, *, threads: int) -> None:
        """Load the tower and the tokenizer of the checkpoint. Raises BackboneError."""
        torch.set_num_threads(threads)
        self._most_tokens = source.text_tokens
        try:
            self._tokenizer = _tokenizer(source.path)
            self._model = _model(source.path)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BackboneError(f"the text tower of {source.name!r} could not be loaded: {reason}") from None
        self._is_padded = self._model.config.model_type in PADDED

    def embed(self, text: str) -> EmbeddedText:
        """Return the vectors of a text. Tokens beyond those that the tower reads are left out."""
        text = text.lower() if self._is_padded else text
        tokens = self._tokenizer(
            text,
            truncation=True,
            max_length=self._most_tokens,
            padding="max_length" if self._is_padded else False,
            return_offsets_mapping=True,
        )
        ids = torch.tensor([tokens["input_ids"]])
        features = cast("Callable[..., Any]", self._model.get_text_features)
        with torch.inference_mode():
            output = features(ids) if self._is_padded else features(ids, attention_mask=torch.ones_like(ids))
        vectors = output if isinstance(output, Tensor) else output.pooler_output
        return EmbeddedText(vectors.float().numpy(), self._read_characters(text, tokens["offset_mapping"]))

    def _read_characters(self, text: str, offsets: list[tuple[int, int]]) -> int:
        whole = self._tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return len(text) if len(whole) <= self._most_tokens else max(end for _, end in offsets)


def _tokenizer(path: str) -> "PreTrainedTokenizerBase":
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    # It would warn that this is not the class in the configuration, which may need sentencepiece. This one finds all in
    # tokenizer.json.
    logging.set_verbosity_error()
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
    return tokenizer


def _model(path: str) -> Any:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(
        path, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    for part in VISION_PARTS:
        if hasattr(model, part):
            delattr(model, part)
    return model.eval()
