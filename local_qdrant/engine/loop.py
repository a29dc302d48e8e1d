"""An engine process: opens collections and carries out one request after the other, until the router hangs up.

Started by the router as `python -m local_qdrant.engine.loop`. It is a plain blocking loop: the
engine keeps the interpreter lock anyway.
"""

import argparse
import contextlib
import gc
import signal
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from local_qdrant.directory import DataDirectory
from local_qdrant.engine.shard import Shard
from local_qdrant.protocol.specification import specify
from local_qdrant.protocol.status import Code, StatusError, unavailable
from local_qdrant.protocol.wire import (
    Counts,
    Operation,
    Reply,
    Request,
    decode_request,
    encode_reply,
)
from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back

# What the engine says, in words only, when files are locked and when the disk is full.
_LOCKED = "WouldBlock"
_NO_SPACE = "No space left on device"
_ANSWERS: dict[Operation, Callable[[Shard, bytes], bytes]] = {
    Operation.UPSERT: Shard.upsert,
    Operation.DELETE: Shard.delete,
    Operation.QUERY: Shard.query,
    Operation.GET: Shard.get,
    Operation.SCROLL: Shard.scroll,
    Operation.COUNT: Shard.count,
}


class OpenShards:
    """The collections that this process has open; the least recently used is closed when there are too many."""

    def __init__(self, directory: DataDirectory, limit: int, indexing_threads: int) -> None:
        self._directory = directory
        self._limit = limit
        self._indexing_threads = indexing_threads
        self._open: OrderedDict[str, Shard] = OrderedDict()

    def get(self, name: str) -> Shard:
        """The collection, opened if need be. Raises `StatusError` (DATA_LOSS) when its files are bad."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        while len(self._open) >= self._limit:
            self._open.popitem(last=False)[1].close()
        specification = specify(self._directory.creation_request(name))
        try:
            shard = Shard(self._directory.shard(name), specification, self._indexing_threads)
        except Exception as error:
            if _LOCKED in str(error):
                raise unavailable(f"Collection `{name}` is still open in another process; try again") from error
            if _NO_SPACE in str(error):
                raise
            raise StatusError(Code.DATA_LOSS, f"Collection `{name}` cannot be opened: {error}") from error
        self._open[name] = shard
        return shard

    def close(self, name: str) -> None:
        """Close the collection if it is open."""
        shard = self._open.pop(name, None)
        if shard is not None:
            shard.close()

    def close_all(self) -> None:
        """Close every collection."""
        while self._open:
            self._open.popitem()[1].close()


def answer(shards: OpenShards, request: Request) -> Reply:
    """Carry out one request. What the engine itself raises becomes INTERNAL, with the stack as payload."""
    try:
        if request.operation is Operation.CLOSE:
            shards.close(request.collection)
            return Reply(Code.OK, Counts())
        shard = shards.get(request.collection)
        payload = b""
        if request.operation is Operation.SETTLE:
            shard.settle()
        elif request.operation is not Operation.LOAD:
            payload = _ANSWERS[request.operation](shard, request.payload)
        return Reply(Code.OK, shard.counts(), payload=payload)
    except StatusError as error:
        return Reply(error.code, Counts(), error.message)
    except Exception as error:
        if _NO_SPACE in str(error):
            return Reply(Code.RESOURCE_EXHAUSTED, Counts(), f"Not enough disk space: {error}")
        return Reply(Code.INTERNAL, Counts(), f"Service internal error: {error}", traceback.format_exc().encode())


def serve(link: ParentLink, shards: OpenShards) -> None:
    """Answer requests until the router hangs up."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            for header, payload in link.receive():
                reply = answer(shards, decode_request(header, payload))
                link.send(encode_reply(reply), reply.payload)


def main() -> None:
    """Run an engine process."""
    parser = argparse.ArgumentParser(prog="local_qdrant.engine.loop")
    parser.add_argument("parent", type=int)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--open", type=int, required=True, help="most collections open at a time")
    parser.add_argument("--indexing-threads", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    arguments = parser.parse_args()
    link = ParentLink.open(arguments.parent)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step_back(arguments.nice)
    gc.freeze()
    shards = OpenShards(DataDirectory(arguments.data), arguments.open, arguments.indexing_threads)
    serve(link, shards)
    shards.close_all()


if __name__ == "__main__":
    main()
