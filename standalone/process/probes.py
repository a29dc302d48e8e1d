"""Probes that tell whether a child is ready, without the libraries that the child uses."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

Probe = Callable[[], Awaitable[bool]]

ANSWER_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_SHOWN = 500


def accepts_connections(path: Path) -> Probe:
    """Return a probe that is true once a Unix socket accepts connections."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                _, writer = await asyncio.open_unix_connection(path)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    return probe


def first_of(*probes: Probe) -> Probe:
    """Return a probe that is true as soon as one of several is. If none is, it raises what one of them raised."""

    async def probe() -> bool:
        asked = [asyncio.ensure_future(each()) for each in probes]
        failure: BaseException | None = None
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    if await answer:
                        return True
                except (OSError, EOFError) as error:
                    failure = error
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if failure is not None:
            raise failure
        return False

    return probe


class GatewayProbe:
    """Asks the gateway. Keeps the last answer of `/readyz` to show it to an operator who waits."""

    def __init__(self, host: str, port: int) -> None:
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        self._port = port
        self.last_answer = "none yet"

    async def is_ready(self) -> bool:
        """Return whether the gateway answers 200."""
        try:
            status, body = await _get(self._host, self._port, "/readyz")
        except (OSError, TimeoutError) as error:
            self.last_answer = str(error) or type(error).__name__
            return False
        self.last_answer = _on_one_line(body) or str(status)
        return status == 200

    async def is_alive(self) -> bool:
        """Return True as soon as the gateway answers `/healthz`, whatever the answer is. Until then, wait.

        A gateway that has too many connections closes this one, which is an answer, too. Raises OSError.
        """
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(_request("/healthz"))
            with suppress(ConnectionError):
                await reader.read(1)
            return True
        finally:
            writer.close()


async def _get(host: str, port: int, path: str) -> tuple[int, str]:
    """Return status and body of one HTTP GET. Raises OSError or TimeoutError when there is no answer."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(_request(path))
            await writer.drain()
            answer = await reader.read(MAX_ANSWER_BYTES)
            while chunk := await reader.read(MAX_ANSWER_BYTES):
                answer = (answer + chunk)[:MAX_ANSWER_BYTES]
        finally:
            writer.close()
    head, _, body = answer.decode("utf-8", "replace").partition("\r\n\r\n")
    words = head.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError(f"no HTTP response from {host}:{port}")
    return int(words[1]), body


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()


def _on_one_line(body: str) -> str:
    try:
        return json.dumps(json.loads(body))[:MAX_SHOWN]
    except ValueError:
        return " ".join(body.split())[:MAX_SHOWN]
