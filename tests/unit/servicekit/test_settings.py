"""Settings: paths, secrets from files, and error messages for operators."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from servicekit.settings import RpcServerSettings, SettingsError, TlsFiles, load_settings


class Example(RpcServerSettings):
    api_key: SecretStr | None = None


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE", "API_KEY", "API_KEY_FILE"):
        monkeypatch.delenv(f"SIMILIS_{name}", raising=False)


def api_key() -> str | None:
    key = load_settings(Example).api_key
    return None if key is None else key.get_secret_value()


def test_a_secret_file_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIMILIS_API_KEY", "from the environment")
    assert api_key() == "from the environment"
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    monkeypatch.setenv("SIMILIS_API_KEY_FILE", str(secret))
    assert api_key() == "hunter2"


def test_a_setting_that_is_a_path_is_not_read_as_a_secret_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CERT", "KEY", "CA"):
        monkeypatch.setenv(f"SIMILIS_TLS_{name}_FILE", f"/certificates/{name}")
    folder = Path("/certificates")
    assert load_settings(Example).tls == TlsFiles(folder / "CERT", folder / "KEY", folder / "CA")


@pytest.mark.parametrize(("content", "message"), [(None, "No such file or directory"), (b"\xff", "not UTF-8")])
def test_the_error_for_an_unreadable_secret_file_names_the_variable(
    content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    monkeypatch.setenv("SIMILIS_API_KEY_FILE", str(secret))
    with pytest.raises(SettingsError, match=f"^SIMILIS_API_KEY_FILE: .*{message}.*$"):
        load_settings(Example)


def test_the_error_for_wrong_values_names_each_variable_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMILIS_NICENESS", "20")
    monkeypatch.setenv("SIMILIS_HEALTH_PORT", "secret")
    with pytest.raises(SettingsError, match=r"^SIMILIS_NICENESS: .*; SIMILIS_HEALTH_PORT: [^\n]*$") as error:
        load_settings(Example)
    assert "secret" not in str(error.value)


def test_the_error_for_an_incomplete_set_of_tls_files_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMILIS_TLS_CERT_FILE", "/certificates/tls.crt")
    with pytest.raises(SettingsError, match=r"^SIMILIS_TLS_CERT_FILE, .* must be set together$"):
        load_settings(Example)
