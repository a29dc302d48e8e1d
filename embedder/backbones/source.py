"""What is served, known without loading it: files, preprocessing, output, checksum. Free of torch."""

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
    """A backbone that cannot be served; the message is one line for the operator."""


@dataclass(frozen=True)
class BackboneSource:
    """A backbone's files and what is made of them.

    name: as configured. path: the weights' file, or the model's folder. pooling: which output is the vector.
    dimension: its length. checksum: over weights, preprocessing and pooling, the same for every engine and device.
    """

    name: str
    family: Family
    path: str
    pooling: Pooling
    dimension: int
    preprocessing: Preprocessing
    checksum: str

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "BackboneSource":
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "preprocessing": Preprocessing.from_dict(values["preprocessing"])})


def checksum_of(files: list[Path], preprocessing: Preprocessing, pooling: str) -> str:
    """SHA-256, in hexadecimal, over the files (in the order given), the preprocessing and the pooling."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    digest.update(b"\0" + preprocessing.canonical() + b"\0" + pooling.encode())
    return digest.hexdigest()
