"""`python -m trainer.learning PARENT INPUT`: train an adapter's head for the trainer that started this process.

INPUT is the descriptor of an open file with the training input. The header of each frame to the parent is the share
done, 0 to 1. In the last frame it has the quality, the head's columns and the gallery's size, and the body has the head
and the scores of the held-out images without a relevant image.
"""

import json
import os
import sys
from typing import IO

import torch

from servicekit.process.fault_points import FaultPoint
from servicekit.process.parent_link import ParentLink
from trainer.adapter.numerics import limit_blas_threads
from trainer.adapter.process import TrainingInput
from trainer.learning.head import Hyperparameters
from trainer.learning.train import train_adapter


def main(file: IO[bytes], parent: ParentLink) -> None:
    """Train on the input in a file, and send the head and its quality to the parent."""
    file.seek(0)
    given = TrainingInput.load(file)
    FaultPoint.LEARNING.reach()
    torch.set_num_threads(given.threads)
    limit_blas_threads(given.threads)
    torch.use_deterministic_algorithms(True)

    def report(share: float) -> None:
        parent.send(json.dumps(round(share, 4)).encode())

    result = train_adapter(given.data, given.pca, given.earlier, Hyperparameters(steps=given.steps), report)
    header = {"quality": result.quality(), "columns": result.head.shape[1], "gallery_size": result.gallery_size}
    body = result.head.astype("<f4").tobytes() + result.strangers.astype("<f4").tobytes()
    parent.send(json.dumps(header).encode(), body)


if __name__ == "__main__":
    link = ParentLink.open(int(sys.argv[1]))
    with os.fdopen(int(sys.argv[2]), "rb") as input_file:
        main(input_file, link)
