"""A DNS server on the loopback interface, whose answers a test can change at any time."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

HEADER = struct.Struct("!6H")
ANSWER = struct.Struct("!HHHIH")
RESPONSE, A, IN = 0x8580, 1, 1
# The default of CoreDNS in a Kubernetes cluster.
TTL_SECONDS = 5


class NameServer(asyncio.DatagramProtocol):
    """Answer with the IPv4 addresses of a name, as a cluster does for a headless Service.

    addresses: the addresses by name. lookups: how often the IPv4 addresses of a name were asked for. gRPC uses the
    server in a target such as "dns://127.0.0.1:{port}/name:9001".
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.lookups: Counter[str] = Counter()
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", HEADER.size) + 5
        question = data[HEADER.size : end]
        kind, _ = struct.unpack("!2H", question[-4:])
        found = self.addresses.get(name(question), []) if kind == A else []
        self.lookups[name(question)] += kind == A
        identifier = HEADER.unpack_from(data)[0]
        answers = b"".join(
            ANSWER.pack(0xC000 | HEADER.size, A, IN, TTL_SECONDS, 4) + socket.inet_aton(address) for address in found
        )
        self._transport.sendto(HEADER.pack(identifier, RESPONSE, 1, len(found), 0, 0) + question + answers, addr)


def name(question: bytes) -> str:
    """Return the name in a DNS question. Each of its labels follows a byte with the label's length."""
    labels: list[str] = []
    while length := question[0]:
        labels.append(question[1 : length + 1].decode().lower())
        question = question[length + 1 :]
    return ".".join(labels)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Run a name server while the block runs."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
