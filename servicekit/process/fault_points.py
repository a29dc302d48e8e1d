"""Fault points: named places in the code where a process may die. Tests make it die, or wait, exactly there.

A point does nothing unless a test has called `watch`. Nothing in production does, and no setting can.
"""

from collections.abc import Callable
from enum import Enum


class FaultPoint(Enum):
    """Every fault point, with what has happened and what has not when it is reached."""

    # Trainer: a finetune, in order.
    CLAIMED = "claimed"
    """The job is leased; nothing was done for it."""
    DOWNLOADED = "downloaded"
    """An image was downloaded and not embedded."""
    EMBEDDED = "embedded"
    """An image was embedded, and its vector not stored."""
    VECTORS_STORED = "vectors_stored"
    """Base vectors are stored, and the versions of their images are not."""
    FIRST_PUBLISHED = "first_published"
    """A provisional index is live, and its successor has no row."""
    FITTING = "fitting"
    """The images were surveyed; there is no adapter yet."""
    LEARNING = "learning"
    """The learning process has its input."""
    ADAPTER_STORED = "adapter_stored"
    """The adapter is stored, and its index does not name it."""
    INDEX_WRITTEN = "index_written"
    """Points of a generation are written."""
    SETTLED = "settled"
    """Qdrant has built the graph, and the number of points was not compared."""
    PUBLISHING = "publishing"
    """The index is complete and not live."""
    PUBLISHED = "published"
    """The index is live, and the worker does not know it."""

    # Trainer: cleaning up.
    INDEX_DROPPED = "index_dropped"
    """The vectors of a replaced index are removed, and its row is not."""
    COLLECTION_DROPPED = "collection_dropped"
    """One Qdrant collection of a deleted collection is removed."""
    ROWS_REMOVED = "rows_removed"
    """The rows of one table of a deleted collection are removed."""
    IMAGE_VECTORS_REMOVED = "image_vectors_removed"
    """The vectors of images that no content names are removed, and their rows are not."""

    # Trainer: reading a source.
    RECORDS_STORED = "records_stored"
    """Some records are stored, with the place where the reading continues."""
    CONTENT_STAGED = "content_staged"
    """The images of all records are in files, and not in the database."""

    # Gateway.
    UPLOAD_RECEIVED = "upload_received"
    """The body of an upload is in a file."""
    CONTENT_WRITTEN = "content_written"
    """All rows of a content are written; the transaction is not committed."""
    CONTENT_STORED = "content_stored"
    """The content is committed, and the client was not told."""
    CREATED = "created"
    """A collection is committed, and the client was not told."""
    DELETED = "deleted"
    """A collection is marked as deleted, and the client was not told."""

    # Embedder.
    DECODED = "decoded"
    """A worker has decoded an image, and not run the backbone."""
    IMAGE_ANSWERED = "image_answered"
    """The embedder has the vectors of an image of a stream, and did not send them."""

    # The one-machine Qdrant.
    POINTS_WRITTEN = "points_written"
    """An engine process has written points, and did not answer."""
    GRAPH_BUILT = "graph_built"
    """An engine process has built a graph and flushed it, and did not answer."""
    FOLDER_STAGED = "folder_staged"
    """A new collection's folder is complete, and not in its place."""
    FOLDER_DISCARDED = "folder_discarded"
    """A deleted collection's folder is out of its place, and its files are still there."""

    def reach(self) -> None:
        """Tell the watchers that this process is here."""
        for watcher in _watchers:
            watcher(self)


_watchers: list[Callable[[FaultPoint], None]] = []


def watch(watcher: Callable[[FaultPoint], None]) -> None:
    """Call `watcher` at every fault point that this process reaches."""
    _watchers.append(watcher)
