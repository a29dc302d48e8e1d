"""The address of Qdrant in the settings of a service."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from catalog.vectors.client import QdrantAddress, QdrantSettings
from gateway.config import GatewaySettings
from servicekit.process.service import StartupError
from trainer.config import TrainerSettings

DATABASE = SecretStr("postgresql:///none")


def configured(kind: type[GatewaySettings] | type[TrainerSettings], **values: Any) -> QdrantSettings:
    return kind(database_url=DATABASE, **values)


@pytest.mark.parametrize("kind", [GatewaySettings, TrainerSettings])
def test_the_address_is_read_from_the_settings(
    kind: type[GatewaySettings] | type[TrainerSettings], tmp_path: Path
) -> None:
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(b"authorities")
    settings = configured(
        kind, qdrant_address="qdrant:7", qdrant_api_key="k", qdrant_tls=True, qdrant_ca_file=authorities
    )
    expected = QdrantAddress("qdrant", 7, tls=True, api_key="k", authorities=b"authorities")
    assert QdrantAddress.from_settings(settings) == expected
    assert QdrantAddress.from_settings(configured(kind, qdrant_address="qdrant")) == QdrantAddress("qdrant", 6334)


def test_a_bad_port_or_ca_file_stops_the_start_and_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^SIMILIS_QDRANT_ADDRESS is not host:port$"):
        QdrantAddress.from_settings(configured(GatewaySettings, qdrant_address="host:port"))
    with pytest.raises(StartupError, match=r"^SIMILIS_QDRANT_CA_FILE cannot be read: No such file"):
        QdrantAddress.from_settings(configured(GatewaySettings, qdrant_ca_file=tmp_path / "none"))
