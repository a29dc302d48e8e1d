"""nginx with the configuration of the handbook, in front of a gateway."""

import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from deploy.tools import TOOLS
from servicekit.settings import TlsFiles
from tests.certificates import Authority
from tests.e2e.machine.handbook import block
from tests.ports import free_port

NGINX = TOOLS / "nginx" / "nginx"
HOST = "similis.example.org"
WHOLE, BELOW_A_PATH = ("upstream similis", "listen 443"), ("location = /similis ",)
LOCATIONS = re.compile(r"    location .*^    \}\n", re.DOTALL | re.MULTILINE)
# What Debian has in its nginx.conf and a test cannot use: its folders belong to root.
MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/similis.conf;
}}
"""
START_SECONDS, STOP_SECONDS, TIMEOUT_SECONDS = 10.0, 10.0, 30.0


class SiteConnection(HTTPConnection):
    """A connection to the site as a visitor's, over TLS. source: the address that it comes from."""

    def __init__(self, site: "Site", source: str = "127.0.0.1") -> None:
        super().__init__(HOST, site.port, timeout=TIMEOUT_SECONDS)
        self._site = site
        self._source = source

    def connect(self) -> None:
        """Connect to nginx on this machine."""
        self.sock = self._site.connected(self._source)


@dataclass(frozen=True)
class Answer:
    """A response. headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Site:
    """What visitors see. path: what is in front of all paths of Similis, or nothing."""

    port: int
    plain_port: int
    authority: bytes
    path: str

    @property
    def address(self) -> str:
        """The address that visitors know."""
        return f"https://{HOST}:{self.port}{self.path}"

    def connected(self, source: str = "127.0.0.1", *protocols: str) -> ssl.SSLSocket:
        """Return a connection over TLS. protocols: to choose from (ALPN)."""
        context = ssl.create_default_context(cadata=self.authority.decode("ascii"))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        raw = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS, (source, 0))
        return context.wrap_socket(raw, server_hostname=HOST)

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        """Send a request for a path of Similis."""
        with closing(SiteConnection(self, source)) as connection:
            connection.request(method, self.path + target, body, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def head_of_answer(self, request: bytes) -> bytes:
        """Return the first line of the answer to what is sent, which need not be a whole request."""
        with self.connected() as connection:
            connection.sendall(request)
            return connection.makefile("rb").readline().rstrip()


def configuration(*, below_a_path: bool) -> str:
    """Return the configuration as the handbook has it. below_a_path: with what it says about that."""
    whole = block(*WHOLE)
    if not below_a_path:
        return whole
    changed = whole.replace('X-Forwarded-Prefix "";', "X-Forwarded-Prefix /similis;")
    assert changed != whole
    locations = block(*BELOW_A_PATH)
    return LOCATIONS.sub(lambda _: locations, changed)


@contextmanager
def running_nginx(folder: Path, gateway: str, *, below_a_path: bool = False) -> Iterator[Site]:
    """Run nginx while entered. folder: a new one. gateway: host and port."""
    if not NGINX.exists():
        pytest.fail(f"{NGINX} not found: run 'make tools'")
    folder.mkdir()
    authority = Authority()
    files = authority.issue(folder / "tls", HOST)
    site = Site(free_port(), free_port(), authority.pem, "/similis" if below_a_path else "")
    text = _with_places(configuration(below_a_path=below_a_path), site, files, gateway)
    (folder / "similis.conf").write_text(text, encoding="utf-8")
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
    with (folder / "errors.log").open("wb") as log:
        process = subprocess.Popen([NGINX, "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"], stderr=log)
    try:
        _wait(process, site, folder / "errors.log")
        yield site
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _with_places(text: str, site: Site, files: TlsFiles, gateway: str) -> str:
    """Put ports, files and the gateway's address of a test into the configuration. Nothing else is changed."""
    if not _has_ipv6():
        text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.MULTILINE)
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{site.plain_port};"),
        ("listen [::]:80;", f"listen [::1]:{site.plain_port};"),
        ("listen 443 ", f"listen 127.0.0.1:{site.port} "),
        ("listen [::]:443 ", f"listen [::1]:{site.port} "),
        ("/etc/ssl/similis/fullchain.pem", str(files.certificate)),
        ("/etc/ssl/similis/key.pem", str(files.key)),
        ("server 127.0.0.1:8080;", f"server {gateway};"),
    ):
        assert old in text or "[::]" in old, old
        text = text.replace(old, new)
    return text


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def _wait(process: "subprocess.Popen[bytes]", site: Site, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            site.connected().close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("nginx did not start")
