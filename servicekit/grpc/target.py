"""The addresses of gRPC servers in settings."""

import re
from typing import Annotated

from pydantic import AfterValidator

EXPECTED = 'expected HOST:PORT, "dns:///NAME:PORT" for all addresses of a name, or "unix:/PATH"'

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s\[\]:/,]+)(?::(?P<port>\d+))?")
# "dns://SERVER/NAME:PORT" asks another name server than the system's.
_DNS = re.compile(r"dns:(?P<server>//[^/\s]*/)?(?P<name>[^/]*)")
_LISTS = ("ipv4:", "ipv6:")
_SOCKETS = ("unix:", "unix-abstract:")


def grpc_target(text: str, *, default_port: int | None = None) -> str:
    """Return what gRPC calls the target of an address. Raises ValueError if it is none of the forms that we take.

    default_port: for an address without a port; None: it needs one.
    """
    text = text.strip()
    if text.startswith(_SOCKETS):
        return _checked(text, bool(text.partition(":")[2]))
    if text.startswith(_LISTS):
        scheme, _, addresses = text.partition(":")
        return f"{scheme}:{','.join(_with_port(address, default_port) for address in addresses.split(','))}"
    if found := _DNS.fullmatch(text):
        return f"dns:{found['server'] or ''}{_with_port(found['name'], default_port)}"
    if "://" in text:
        raise ValueError(f"{EXPECTED}, without {text.partition('://')[0]}://")
    return _with_port(text, default_port)


def ports_of(target: str) -> set[int]:
    """Return the ports in a target that `grpc_target` returned."""
    if target.startswith(_SOCKETS):
        return set()
    return {int(address.rpartition(":")[2]) for address in target.split(",")}


def _with_port(address: str, default_port: int | None) -> str:
    found = _HOST.fullmatch(address)
    port = default_port if found is None or found["port"] is None else int(found["port"])
    if found is None or port is None:
        raise ValueError(EXPECTED)
    if not 0 < port < 65536:
        raise ValueError("the port must be between 1 and 65535")
    return f"{found['host']}:{port}"


def _checked(text: str, holds: bool) -> str:
    if not holds:
        raise ValueError(EXPECTED)
    return text


GrpcAddress = Annotated[str, AfterValidator(grpc_target)]
