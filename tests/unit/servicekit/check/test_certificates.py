"""The check of certificates: dates, keys and authorities."""

from dataclasses import replace
from pathlib import Path

import pytest

from servicekit.check.certificates import authorities, own_certificate
from servicekit.check.findings import Level, failed
from servicekit.process.service import StartupError
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (365, Level.OK, "valid until"),
        (3, Level.WARNING, "SIMILIS_TLS_CERT_FILE expires on"),
        (-1, Level.FAILED, "SIMILIS_TLS_CERT_FILE expired on"),
    ],
)
async def test_a_certificate_is_judged_by_its_dates(tmp_path: Path, days: int, level: Level, words: str) -> None:
    found = await own_certificate(Authority().issue(tmp_path / "tls", days=days))()
    assert found.level is level
    assert words in found.text


async def test_a_certificate_of_a_foreign_authority_is_a_warning(tmp_path: Path) -> None:
    trusted = Authority().issue(tmp_path / "trusted").authorities
    found = await own_certificate(replace(Authority().issue(tmp_path / "tls"), authorities=trusted))()
    assert found.level is Level.WARNING
    assert "is not signed by an authority in" in found.text


async def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    files = replace(authority.issue(tmp_path / "tls"), key=authority.issue(tmp_path / "other").key)
    with pytest.raises(StartupError, match="TLS files cannot be used"):
        await own_certificate(files)()


async def test_authorities_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """What failed used to be told as an exception of Python."""
    file = tmp_path / "ca.crt"
    missing = await authorities(file, "SIMILIS_TLS_CA_FILE")()
    file.write_text("no certificate", encoding="ascii")
    wrong = await authorities(file, "SIMILIS_TLS_CA_FILE")()
    assert missing == failed(f"{file} cannot be read: No such file or directory. Correct SIMILIS_TLS_CA_FILE.")
    assert wrong == failed(f"{file} has no certificate. Correct SIMILIS_TLS_CA_FILE.")


async def test_authorities_that_are_valid_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(Authority().pem + Authority().pem)
    assert (await authorities(file, "SIMILIS_TLS_CA_FILE")()).text == f"2 in {file}"
