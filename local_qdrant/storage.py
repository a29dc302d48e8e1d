"""The files on disk: one folder for each collection, created and deleted in one step.

DIR/lock                          held by the process that owns the directory
DIR/collections/<name>/meta.json  the request that created the collection
DIR/collections/<name>/shard/     the engine's files, made on first use
DIR/collections/<name>/unsettled  present while some writes are not yet optimized and flushed
DIR/staging/, DIR/trash/          half-created and half-deleted collections, removed at start
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from google.protobuf import json_format

from local_qdrant.protocol.status import Code, StatusError
from servicekit.process.fault_points import FaultPoint
from servicekit.qdrant_api import collections_pb2

SHARD = "shard"
META = "meta.json"
UNSETTLED = "unsettled"


class StorageInUseError(Exception):
    """Another process uses the data directory."""


class Storage:
    """The layout on disk. As a context manager it holds the directory's lock. Its methods block on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._collections = root / "collections"
        self._staging = root / "staging"
        self._trash = root / "trash"
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Take the lock and remove half-created and half-deleted collections. Raises `StorageInUseError`, OSError."""
        for folder in (self._collections, self._staging, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise StorageInUseError(f"{self.root} is in use by another process") from error
        self._lock = lock
        for folder in (self._staging, self._trash):
            for leftover in folder.iterdir():
                shutil.rmtree(leftover)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def names(self) -> Iterator[str]:
        """Return the names of all collections."""
        return (entry.name for entry in self._collections.iterdir() if entry.is_dir())

    def create(self, name: str, request: collections_pb2.CreateCollection) -> None:
        """Create a collection's folder: all of it, or nothing."""
        staged = self._staging / uuid4().hex
        staged.mkdir()
        text = json_format.MessageToJson(request, preserving_proto_field_name=True)
        _write_durably(staged / META, text)
        FaultPoint.FOLDER_STAGED.reach()
        staged.rename(self._collections / name)
        _sync_folder(self._collections)

    def creation_request(self, name: str) -> collections_pb2.CreateCollection:
        """Return the request that created a collection. Raises `StatusError` (DATA_LOSS) when it cannot be read."""
        try:
            text = (self._collections / name / META).read_text("utf-8")
            request = json_format.Parse(text, collections_pb2.CreateCollection())
        except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
            raise StatusError(
                Code.DATA_LOSS, f"Collection `{name}` is damaged: {META} cannot be read: {error}"
            ) from error
        if request.collection_name != name:
            raise StatusError(Code.DATA_LOSS, f"Collection `{name}` is damaged: {META} belongs to another collection")
        return request

    def discard(self, name: str) -> Path:
        """Delete a collection in one step and return the folder whose files are left to remove."""
        doomed = self._trash / uuid4().hex
        (self._collections / name).rename(doomed)
        _sync_folder(self._collections)
        FaultPoint.FOLDER_DISCARDED.reach()
        return doomed

    def shard(self, name: str) -> Path:
        """Return the folder of a collection's engine files."""
        return self._collections / name / SHARD

    def is_settled(self, name: str) -> bool:
        """Return whether all writes to a collection are optimized and flushed."""
        return not (self._collections / name / UNSETTLED).exists()

    def mark_unsettled(self, name: str) -> None:
        """Record durably that a collection has writes that are not yet optimized."""
        _write_durably(self._collections / name / UNSETTLED, "")

    def mark_settled(self, name: str) -> None:
        """Record that a collection is optimized and flushed."""
        (self._collections / name / UNSETTLED).unlink(missing_ok=True)

    def size(self, name: str) -> int:
        """Return the bytes that a collection takes on disk. Holes in sparse files do not count."""
        total = 0
        for folder, _, files in os.walk(self._collections / name):
            for file in files:
                try:
                    total += os.lstat(f"{folder}/{file}").st_blocks * 512
                except FileNotFoundError:
                    continue
        return total

    def free_bytes(self) -> int:
        """Return how many bytes can still be written to the file system."""
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize


def remove_folder(folder: Path) -> None:
    """Remove the files of a deleted collection."""
    shutil.rmtree(folder, ignore_errors=True)


def _write_durably(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
