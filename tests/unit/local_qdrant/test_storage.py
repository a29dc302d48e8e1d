"""Collections on disk: complete or absent, used by one process, with marks that survive a restart."""

from pathlib import Path

import pytest

from local_qdrant.protocol.status import Code, StatusError
from local_qdrant.storage import Storage, StorageInUseError, remove_folder
from servicekit.qdrant_api import collections_pb2 as pb


def request(name: str) -> pb.CreateCollection:
    made = pb.CreateCollection(collection_name=name, shard_number=1)
    made.vectors_config.params.size = 2**16
    made.vectors_config.params.distance = pb.Dot
    made.vectors_config.params.on_disk = False
    made.quantization_config.scalar.CopyFrom(pb.ScalarQuantization(type=pb.Int8, quantile=0.99))
    return made


@pytest.mark.parametrize("name", ["plain", "with space", "ünïcode-✓", "c12-g34", "-rf"])
def test_the_creation_request_is_read_back_unchanged(tmp_path: Path, name: str) -> None:
    with Storage(tmp_path) as storage:
        storage.create(name, request(name))
        assert list(storage.names()) == [name]
        assert storage.creation_request(name) == request(name)
        assert storage.is_settled(name)


def test_only_one_process_can_use_the_directory(tmp_path: Path) -> None:
    with Storage(tmp_path), pytest.raises(StorageInUseError), Storage(tmp_path):
        pass
    with Storage(tmp_path):
        pass


def test_a_deleted_collection_is_gone_before_its_files_are_removed(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        storage.create("c", request("c"))
        doomed = storage.discard("c")
        assert list(storage.names()) == []
        assert doomed.exists()
        storage.create("c", request("c"))
        remove_folder(doomed)
        assert storage.creation_request("c") == request("c")
        storage.discard("c")
    with Storage(tmp_path) as storage:
        assert not any((tmp_path / "trash").iterdir())
        assert list(storage.names()) == []


def test_the_unsettled_mark_survives_a_restart(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        storage.create("c", request("c"))
        storage.mark_unsettled("c")
    with Storage(tmp_path) as storage:
        assert not storage.is_settled("c")
        storage.mark_settled("c")
        storage.mark_settled("c")
        assert storage.is_settled("c")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"nonsense": 1}', b"\xff\xfe"])
def test_an_unreadable_creation_request_is_data_loss(tmp_path: Path, content: bytes) -> None:
    with Storage(tmp_path) as storage:
        storage.create("c", request("c"))
        (tmp_path / "collections" / "c" / "meta.json").write_bytes(content)
        with pytest.raises(StatusError) as error:
            storage.creation_request("c")
    assert error.value.code is Code.DATA_LOSS


def test_holes_in_sparse_files_do_not_count(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        storage.create("c", request("c"))
        with (tmp_path / "collections" / "c" / "sparse").open("wb") as file:
            file.truncate(2**30)
        assert storage.size("c") < 2**20
