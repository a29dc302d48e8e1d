"""The data directory: whole collections or none, one owner, marks that survive."""

from pathlib import Path

import pytest

from local_qdrant.directory import DataDirectory, DirectoryInUseError, remove_folder
from local_qdrant.protocol.messages import collections_pb2 as pb
from local_qdrant.protocol.status import Code, StatusError


def request(name: str) -> pb.CreateCollection:
    made = pb.CreateCollection(collection_name=name, shard_number=1)
    made.vectors_config.params.size = 2**16
    made.vectors_config.params.distance = pb.Dot
    made.vectors_config.params.on_disk = False
    made.quantization_config.scalar.CopyFrom(pb.ScalarQuantization(type=pb.Int8, quantile=0.99))
    return made


@pytest.mark.parametrize("name", ["plain", "with space", "ünïcode-✓", "c12-g34", "-rf"])
def test_the_creation_request_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.create(name, request(name))
        assert list(directory.names()) == [name]
        assert directory.creation_request(name) == request(name)
        assert directory.is_settled(name)


def test_only_one_process_holds_the_directory(tmp_path: Path) -> None:
    with DataDirectory(tmp_path), pytest.raises(DirectoryInUseError), DataDirectory(tmp_path):
        pass
    with DataDirectory(tmp_path):
        pass


def test_a_discarded_collection_is_gone_before_its_files_are_removed(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.create("c", request("c"))
        doomed = directory.discard("c")
        assert list(directory.names()) == []
        assert doomed.exists()
        directory.create("c", request("c"))
        remove_folder(doomed)
        assert directory.creation_request("c") == request("c")
        directory.discard("c")
    with DataDirectory(tmp_path) as directory:
        assert not any((tmp_path / "trash").iterdir())
        assert list(directory.names()) == []


def test_the_mark_of_unsettled_writes_survives_until_it_is_taken_away(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.create("c", request("c"))
        directory.mark_unsettled("c")
    with DataDirectory(tmp_path) as directory:
        assert not directory.is_settled("c")
        directory.mark_settled("c")
        directory.mark_settled("c")
        assert directory.is_settled("c")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"nonsense": 1}', b"\xff\xfe"])
def test_an_unreadable_creation_request_is_data_loss(tmp_path: Path, content: bytes) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.create("c", request("c"))
        (tmp_path / "collections" / "c" / "meta.json").write_bytes(content)
        with pytest.raises(StatusError) as error:
            directory.creation_request("c")
    assert error.value.code is Code.DATA_LOSS


def test_holes_in_files_do_not_count_as_size(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.create("c", request("c"))
        with (tmp_path / "collections" / "c" / "sparse").open("wb") as file:
            file.truncate(2**30)
        assert directory.size("c") < 2**20
