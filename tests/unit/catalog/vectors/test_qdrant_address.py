"""How a service connects to Qdrant, according to its settings."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from catalog.postgres.database import database_url
from catalog.settings import StoreSettings
from catalog.vectors.client import QdrantAddress
from servicekit.settings import SettingsError
from tests.certificates import Authority


def configured(**values: Any) -> StoreSettings:
    return StoreSettings(database_url=SecretStr("postgresql:///none"), **values)


def test_the_address_is_read_from_the_settings(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(Authority().pem)
    settings = configured(qdrant_address="qdrant:7", qdrant_api_key="k", qdrant_tls=True, qdrant_ca_file=authorities)
    expected = QdrantAddress("qdrant:7", tls=True, api_key="k", authorities=authorities.read_bytes())
    assert QdrantAddress.from_settings(settings) == expected
    # Compose sets variables that nobody gave a value to an empty one.
    assert QdrantAddress.from_settings(configured(qdrant_api_key="")) == QdrantAddress("127.0.0.1:6334")


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"none", "does not hold certificates")])
def test_an_authority_file_that_cannot_be_used_is_a_wrong_setting(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"^SIMILIS_QDRANT_CA_FILE: .*{reason}"):
        QdrantAddress.from_settings(configured(qdrant_ca_file=file))
    with pytest.raises(SettingsError, match=rf"^SIMILIS_DATABASE_CA_FILE: .*{reason}"):
        database_url(configured(database_ca_file=file))
