"""Settings: paths, secrets from files, and what an operator is told."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from servicekit.settings import RpcServerSettings, SettingsError, TlsFiles, load_settings


class Example(RpcServerSettings):
    api_key: SecretStr | None = None


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.delenv(f"SIMILIS_TLS_{name}_FILE", raising=False)


def test_the_tls_files_are_paths_while_a_secret_s_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    monkeypatch.setenv("SIMILIS_API_KEY_FILE", str(secret))
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.setenv(f"SIMILIS_TLS_{name}_FILE", f"/certificates/{name}")
    settings = load_settings(Example)
    assert settings.tls == TlsFiles(*(Path("/certificates") / name for name in ("CERT", "KEY", "CA")))
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hunter2"


def test_a_part_of_the_tls_files_is_refused_in_one_line_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMILIS_TLS_CERT_FILE", "/certificates/tls.crt")
    with pytest.raises(SettingsError, match=r"^SIMILIS_TLS_CERT_FILE, .* are given together$"):
        load_settings(Example)
