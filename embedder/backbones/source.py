"""The description of a backbone: files, preprocessing, output and checksum. Does not load it, nor import torch."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from embedder.decoding.preprocessing import Preprocessing

Family = Literal["efficientnet-lite0", "transformers"]
Pooling = Literal["pooled", "cls", "projection"]
BLOCK = 1 << 20


class BackboneError(Exception):
    """A backbone that cannot be served. The message is one line for the operator."""


class WrongBackbone(BackboneError):
    """The settings name a backbone that cannot be served, however often it is tried."""


@dataclass(frozen=True)
class BackboneSource:
    """Where the files of a backbone are, and how to use them.

    name: as configured. path: the file of the weights, or the folder of the model. pooling: the output that is the
    vector. dimension: the length of the vector. checksum: covers weights, preprocessing and pooling; the same for every
    engine and device. text_tokens: how many tokens of a text its text tower reads; 0: it cannot embed texts.
    """

    name: str
    family: Family
    path: str
    pooling: Pooling
    dimension: int
    preprocessing: Preprocessing
    checksum: str
    text_tokens: int = 0

    def to_json(self) -> str:
        """Return the source as JSON, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "BackboneSource":
        """Return the source that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "preprocessing": Preprocessing.from_dict(values["preprocessing"])})


def checksum_of(files: list[Path], preprocessing: Preprocessing, pooling: str) -> str:
    """Return the hexadecimal SHA-256 of the files, in this order, the preprocessing and the pooling."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    digest.update(b"\0" + preprocessing.canonical() + b"\0" + pooling.encode())
    return digest.hexdigest()
