"""The training process: it uses no more threads than the trainer gives it."""

import socket
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from servicekit.process.frames import FrameReceiver
from servicekit.process.parent_link import ParentLink
from trainer.adapter.process import TrainingInput
from trainer.learning.__main__ import main
from trainer.learning.dataset import TrainingSet


@pytest.fixture(autouse=True)
def many_threads() -> Iterator[None]:
    """Let numpy and torch use two threads, and restore their settings afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(limits=2, user_api="blas"):
        yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


def test_numpy_and_torch_use_only_the_threads_of_the_training() -> None:
    none = np.zeros(0, np.int64)
    empty = TrainingSet(np.zeros((0, 4), np.float32), none, np.zeros((0, 0, 4), np.float32), none, none)
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as file:
        TrainingInput(empty, np.eye(4, 2, dtype=np.float32), None, 1, 1).save(file)
        main(file, ParentLink(theirs))
        assert len(FrameReceiver(ours).next()) == 1
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
    assert torch.get_num_threads() == 1
