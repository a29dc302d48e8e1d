"""A name server on the loopback interface, whose answers a test changes while others ask."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HEADER = struct.Struct("!6H")
ANSWER = struct.Struct("!HHHIH")
RESPONSE, A, IN = 0x8580, 1, 1
# As of CoreDNS in a cluster.
TTL_SECONDS = 5


class NameServer(asyncio.DatagramProtocol):
    """Answers with the IPv4 addresses that a name has, as a cluster does for a headless Service; the `dns:` scheme of
    gRPC takes it as "dns://127.0.0.1:{port}/name:9001".
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.port = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", HEADER.size) + 5
        question = data[HEADER.size : end]
        kind, _ = struct.unpack("!2H", question[-4:])
        found = self.addresses.get(name(question), []) if kind == A else []
        identifier = HEADER.unpack_from(data)[0]
        answers = b"".join(
            ANSWER.pack(0xC000 | HEADER.size, A, IN, TTL_SECONDS, 4) + socket.inet_aton(address) for address in found
        )
        self._transport.sendto(HEADER.pack(identifier, RESPONSE, 1, len(found), 0, 0) + question + answers, addr)


def name(question: bytes) -> str:
    """The name that is asked for, from its labels, each behind its length."""
    labels: list[str] = []
    while length := question[0]:
        labels.append(question[1 : length + 1].decode().lower())
        question = question[length + 1 :]
    return ".".join(labels)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Answers while entered."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
