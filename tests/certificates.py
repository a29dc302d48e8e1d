"""Certificate files for tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from servicekit.settings import TlsFiles


class Authority:
    """A certificate authority."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    @property
    def pem(self) -> bytes:
        """The certificate of the authority."""
        return self._authority.cert_pem.bytes()

    def issue(self, folder: Path, *names: str, days: int = 365) -> TlsFiles:
        """Write a new certificate, its key and the authority's certificate into a folder. Existing files are replaced.

        names: the host names and addresses of the certificate; without any, those of this machine. days: how long it
        is valid from now on; a negative number for one that has expired.
        """
        folder.mkdir(exist_ok=True)
        now = datetime.now(UTC)
        issued = self._authority.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            not_before=now - timedelta(days=100),
            not_after=now + timedelta(days=days),
        )
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        files = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        for path, content in (
            (files.key, issued.private_key_pem.bytes()),
            (files.certificate, chain),
            (files.authorities, self.pem),
        ):
            path.write_bytes(content)
            path.chmod(0o600)
        return files
