"""HTTP requests: the key, deadlines, retries, and errors as exceptions."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from similis_client.answers import Problem
from similis_client.errors import ApiError, ConnectionFailed, UnexpectedAnswer, error_class

CONNECT_SECONDS = 10.0
# The answers that mean "later", of a service that has changed nothing.
BUSY = (429, 503)
# The pause before a retry if the service names none.
PAUSE_SECONDS = 1.0
CHUNK_BYTES = 1 << 16

T = TypeVar("T")
# What a request sends: bytes, or the path of a file.
Content = bytes | os.PathLike[str]
Parameters = Mapping[str, object]


class Transport:
    """Sends requests to one service.

    url: of the service, with or without `/api`. attempts: how often a request is sent in all while the service answers
    429 or 503. timeout: the seconds to wait for an answer. longest_pause: the most seconds to wait before a retry; if
    the service asks for more, the error is raised at once.
    """

    def __init__(
        self, url: str, key: str | None, *, attempts: int = 5, timeout: float = 70.0, longest_pause: float = 60.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"The URL of the service must begin with http:// or https://, unlike {url!r}.")
        if attempts < 1:
            raise ValueError("attempts must be at least 1.")
        self.url = url.rstrip("/").removesuffix("/api").rstrip("/")
        self._key = key
        self._attempts = attempts
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=timeout)
        self._longest_pause = longest_pause
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. The next request opens new ones."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, kind: type[T], parameters: Parameters | None = None) -> T:
        """Return the answer to a GET, read as `kind`. Parameters that are None are left out."""
        async with self.request("GET", path, parameters=parameters) as response:
            return await _decoded(response, kind)

    async def post(
        self,
        path: str,
        kind: type[T],
        body: Mapping[str, object] | None = None,
        *,
        content: Content | None = None,
        parameters: Parameters | None = None,
    ) -> T:
        """Return the answer to a POST, read as `kind`. body: sent as JSON; content: a CSV, sent as it is."""
        headers = {}
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        elif content is not None:
            headers["Content-Type"] = "text/csv"
        async with self.request("POST", path, parameters=parameters, content=content, headers=headers) as response:
            return await _decoded(response, kind)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful answer, whose body has not been read. Raises SimilisError."""
        async with AsyncExitStack() as stack:
            for attempt in range(1, self._attempts + 1):
                response = await self._send(stack, method, path, parameters or {}, content, headers or {})
                if response.status == 200:
                    break
                error = await _error(response)
                pause = PAUSE_SECONDS if error.retry_after is None else error.retry_after
                if error.status not in BUSY or attempt == self._attempts or pause > self._longest_pause:
                    raise error
                await stack.aclose()
                await asyncio.sleep(pause)
            with _connection_errors(self.url):
                yield response

    async def _send(
        self,
        stack: AsyncExitStack,
        method: str,
        path: str,
        parameters: Parameters,
        content: Content | None,
        headers: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            # Proxies are those of the environment, as for other programs.
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=True)
        data: bytes | IO[bytes] | None = None
        if content is not None:
            data = content if isinstance(content, bytes) else await asyncio.to_thread(Path(content).open, "rb")
            if not isinstance(data, bytes):
                stack.callback(data.close)
        with _connection_errors(self.url):
            # A redirect would take the key to another host.
            return await stack.enter_async_context(
                self._session.request(
                    method,
                    self.url + path,
                    params={name: _parameter(value) for name, value in parameters.items() if value is not None},
                    data=data,
                    headers=headers if self._key is None else {**headers, "API-Key": self._key},
                    allow_redirects=False,
                )
            )


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Turn errors of the connection into ConnectionFailed."""
    try:
        yield
    except TimeoutError as error:
        raise ConnectionFailed("timeout", f"{url} did not answer in time.") from error
    except aiohttp.ClientError as error:
        raise ConnectionFailed("connection_failed", f"{url} could not be reached: {_reason(error)}.") from error


def _reason(error: aiohttp.ClientError) -> str:
    """Return why a connection failed, in words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        # Errors of the name service have numbers of their own.
        cause = error.os_error
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or str(error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    return str(error) or type(error).__name__


async def _decoded(response: aiohttp.ClientResponse, kind: type[T]) -> T:
    body = await response.read()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedAnswer(
            "unexpected_answer",
            f"{response.url.with_query(None)} sent something that Similis does not send: {error}",
            status=response.status,
            request_id=response.headers.get("X-Request-Id"),
        ) from error


async def _error(response: aiohttp.ClientResponse) -> ApiError:
    """Return the error that an answer describes. Raises UnexpectedAnswer if it describes none."""
    status = response.status
    if 300 <= status < 400:
        raise UnexpectedAnswer(
            "unexpected_answer",
            f"{response.url.with_query(None)} redirects to {response.headers.get('Location', 'another address')}. "
            "Use the URL of the service itself.",
            status=status,
        )
    problem = await _problem(response)
    request_id = problem.request_id or response.headers.get("X-Request-Id")
    detail = problem.detail or problem.message or f"The service answered with status {status}."
    return error_class(status, problem.code)(
        problem.code, detail, status=status, request_id=request_id, retry_after=_seconds(response)
    )


async def _problem(response: aiohttp.ClientResponse) -> Problem:
    try:
        return msgspec.json.decode(await response.read(), type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, aiohttp.ClientError):
        if response.status in (429, 502, 503, 504):
            # A proxy in front of the service answers in its own words.
            return Problem(
                status=response.status, code="unavailable", detail="The service cannot be reached behind its proxy."
            )
        raise UnexpectedAnswer(
            "unexpected_answer",
            f"{response.url.with_query(None)} answered with status {response.status}, but not as Similis does. "
            "Check the URL of the service.",
            status=response.status,
            request_id=response.headers.get("X-Request-Id"),
        ) from None


def _seconds(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds that `Retry-After` names, or None."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _parameter(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
