"""Which request a worker works on, in memory that outlives the worker, so that its end is blamed on that request."""

import os
import struct

_ID = struct.Struct("<Q")


class CurrentRequest:
    """The number of a request in a few bytes of shared memory."""

    def __init__(self, descriptor: int) -> None:
        """descriptor: of the memory. -1: nothing is noted."""
        self._descriptor = descriptor

    @classmethod
    def allocate(cls) -> "CurrentRequest":
        """Allocate the memory. The caller closes it."""
        return cls(os.memfd_create("similis-current-request", os.MFD_CLOEXEC))

    @property
    def descriptor(self) -> int:
        """The file descriptor, which a worker inherits."""
        return self._descriptor

    def note(self, request: int) -> None:
        """Note that this request is being worked on; 0: none is."""
        if self._descriptor >= 0:
            os.pwrite(self._descriptor, _ID.pack(request), 0)

    def read(self) -> int:
        """Return the request that is being worked on; 0 if there is none."""
        found = os.pread(self._descriptor, _ID.size, 0) if self._descriptor >= 0 else b""
        return int(_ID.unpack(found)[0]) if len(found) == _ID.size else 0

    def close(self) -> None:
        """Free the memory."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
