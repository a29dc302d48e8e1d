"""`python -m trainer.learning PARENT LESSON`: learn an adapter's head, for the trainer that started it.

LESSON is the descriptor of an open file. Every frame to the parent has the share done, 0 to 1, as its header; the last
one has the quality, the head's columns and the gallery there, and the head and the unrelated scores as its body.
"""

import json
import os
import sys
from typing import IO

import torch

from servicekit.process.parent_link import ParentLink
from trainer.adapter.process import Lesson
from trainer.learning.head import Hyperparameters
from trainer.learning.train import learn


def main(given: IO[bytes], parent: ParentLink) -> None:
    """Learn from a lesson, and send the head with its quality."""
    given.seek(0)
    lesson = Lesson.load(given)
    torch.set_num_threads(lesson.threads)
    torch.use_deterministic_algorithms(True)

    def report(share: float) -> None:
        parent.send(json.dumps(round(share, 4)).encode())

    learned = learn(lesson.data, lesson.pca, lesson.earlier, Hyperparameters(steps=lesson.steps), report)
    answer = {"quality": learned.quality(), "columns": learned.head.shape[1], "gallery": learned.gallery}
    body = learned.head.astype("<f4").tobytes() + learned.unrelated.astype("<f4").tobytes()
    parent.send(json.dumps(answer).encode(), body)


if __name__ == "__main__":
    link = ParentLink.open(int(sys.argv[1]))
    with os.fdopen(int(sys.argv[2]), "rb") as lesson_file:
        main(lesson_file, link)
