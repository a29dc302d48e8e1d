"""Check the certificates for mutual TLS."""

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.utils import CryptographyDeprecationWarning

from servicekit.check.findings import Check, Finding, failed, ok, warning
from servicekit.grpc.tls import CertificateFiles
from servicekit.settings import TlsFiles

# Whatever renews certificates has usually done so by then.
SOON = timedelta(days=7)


def own_certificate(files: TlsFiles) -> Check:
    """Return a check of the service's own certificate: its key, its dates, and its authority."""

    async def check() -> Finding:
        CertificateFiles(files)
        certificate = _certificates(files.certificate)[0]
        problem = _problem_with_dates(certificate, "SIMILIS_TLS_CERT_FILE")
        if problem is not None:
            return problem
        if not any(_signed_by(certificate, authority) for authority in _issuers(files)):
            return warning(
                f"{files.certificate} is not signed by an authority in {files.authorities}. If the other services have "
                "the same authorities, they will refuse it. Check SIMILIS_TLS_CERT_FILE and SIMILIS_TLS_CA_FILE."
            )
        return ok(f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}")

    return check


def authorities(file: Path, setting: str) -> Check:
    """Return a check of a file with trusted authorities. setting: the variable that names the file."""

    async def check() -> Finding:
        try:
            certificates = _certificates(file)
        except OSError as error:
            return failed(f"{file} cannot be read: {error.strerror}. Correct {setting}.")
        except ValueError:
            return failed(f"{file} has no certificate. Correct {setting}.")
        found = [_problem_with_dates(certificate, setting) for certificate in certificates]
        # Old authorities may stay in the file next to new ones.
        problems = [problem for problem in found if problem is not None]
        return problems[0] if len(problems) == len(found) else ok(f"{len(found)} in {file}")

    return check


def _certificates(file: Path) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # Old public authorities have serial numbers that would not be allowed today.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_pem_x509_certificates(file.read_bytes())


def _issuers(files: TlsFiles) -> list[x509.Certificate]:
    return [*_certificates(files.certificate)[1:], *_certificates(files.authorities)]


def _problem_with_dates(certificate: x509.Certificate, setting: str) -> Finding | None:
    now = datetime.now(UTC)
    end = certificate.not_valid_after_utc
    if end < now:
        return failed(f"A certificate in {setting} expired on {end:%Y-%m-%d}. Replace it.")
    if certificate.not_valid_before_utc > now:
        begin = certificate.not_valid_before_utc
        return failed(f"A certificate in {setting} is not valid before {begin:%Y-%m-%d %H:%M} UTC. Check the clock.")
    if end < now + SOON:
        return warning(f"A certificate in {setting} expires on {end:%Y-%m-%d}. Renew it.")
    return None


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
