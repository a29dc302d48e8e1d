"""An engine process: opens collections and answers one request after the other until the router hangs up.

The router starts it as `python -m local_qdrant.engine.loop`. It is a plain blocking loop, because the engine holds the
interpreter lock anyway.
"""

import argparse
import contextlib
import gc
import signal
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

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
from local_qdrant.storage import Storage
from servicekit.process.parent_link import ParentLink
from servicekit.process.priority import step_back

# The engine reports locked files and a full disk in the text of its errors only.
LOCKED = "WouldBlock"
NO_SPACE = "No space left on device"

ANSWERS: dict[Operation, Callable[[Shard, bytes], bytes]] = {
    Operation.UPSERT: Shard.upsert,
    Operation.DELETE: Shard.delete,
    Operation.QUERY: Shard.query,
    Operation.GET: Shard.get,
    Operation.SCROLL: Shard.scroll,
    Operation.COUNT: Shard.count,
}


class OpenShards:
    """The collections that this process has open. The least recently used one is closed when there are too many."""

    def __init__(self, storage: Storage, limit: int, indexing_threads: int) -> None:
        self._storage = storage
        self._limit = limit
        self._indexing_threads = indexing_threads
        self._open: OrderedDict[str, Shard] = OrderedDict()

    def get(self, name: str) -> Shard:
        """Return the collection, opened if necessary. Raises `StatusError` (DATA_LOSS) when its files are damaged."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        while len(self._open) >= self._limit:
            self._open.popitem(last=False)[1].close()
        specification = specify(self._storage.creation_request(name))
        try:
            shard = Shard(self._storage.shard(name), specification, self._indexing_threads)
        except Exception as error:
            if LOCKED in str(error):
                raise unavailable(f"Collection `{name}` is still open in another process; try again") from error
            if NO_SPACE in str(error):
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
    """Run one request. An error of the engine becomes INTERNAL, with the traceback as payload."""
    try:
        if request.operation is Operation.CLOSE:
            shards.close(request.collection)
            return Reply(Code.OK, Counts())
        shard = shards.get(request.collection)
        payload = b""
        if request.operation is Operation.SETTLE:
            shard.settle()
        elif request.operation is not Operation.LOAD:
            payload = ANSWERS[request.operation](shard, request.payload)
        return Reply(Code.OK, shard.counts(), payload=payload)
    except StatusError as error:
        return Reply(error.code, Counts(), error.message)
    except Exception as error:
        if NO_SPACE in str(error):
            return Reply(Code.RESOURCE_EXHAUSTED, Counts(), f"Not enough disk space: {error}")
        return Reply(Code.INTERNAL, Counts(), f"Service internal error: {error}", traceback.format_exc().encode())


def serve(link: ParentLink, shards: OpenShards) -> None:
    """Answer requests until the router closes the connection."""
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
    parser.add_argument("--open", type=int, required=True, help="how many collections to keep open")
    parser.add_argument("--indexing-threads", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    arguments = parser.parse_args()
    link = ParentLink.open(arguments.parent)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step_back(arguments.nice)
    gc.freeze()
    shards = OpenShards(Storage(arguments.data), arguments.open, arguments.indexing_threads)
    serve(link, shards)
    link.close()
    shards.close_all()


if __name__ == "__main__":
    main()
