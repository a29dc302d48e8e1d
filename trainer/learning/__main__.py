"""`python -m trainer.learning LESSON HEAD PARENT`: learns, and prints how far it is.

LESSON and HEAD are descriptors of open files.
"""

import os
import sys
from typing import IO

import numpy as np
import torch

from servicekit.process.lifeline import die_with_parent
from trainer.adapter.process import Lesson
from trainer.learning.head import Hyperparameters
from trainer.learning.train import learn


def main(given: IO[bytes], made: IO[bytes], parent: int) -> None:
    """Reads a lesson and writes the head with its quality. parent: id of the process that this one ends with."""
    die_with_parent(parent)
    given.seek(0)
    lesson = Lesson.load(given)
    torch.set_num_threads(lesson.threads)
    torch.use_deterministic_algorithms(True)

    def report(share: float) -> None:
        sys.stdout.write(f"{share:.4f}\n")
        sys.stdout.flush()

    learned = learn(lesson.data, lesson.pca, lesson.earlier, Hyperparameters(steps=lesson.steps), report)
    np.savez(
        made,
        head=learned.head,
        quality=np.array(learned.quality()),
        unrelated=learned.unrelated,
        gallery=np.array(learned.gallery),
    )


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "rb") as lesson_file, os.fdopen(int(sys.argv[2]), "wb") as head_file:
        main(lesson_file, head_file, int(sys.argv[3]))
