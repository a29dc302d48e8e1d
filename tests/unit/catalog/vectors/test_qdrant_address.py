"""Where Qdrant is, as every service that needs it is told."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from catalog.vectors.client import QdrantAddress, QdrantSettings
from gateway.config import GatewaySettings
from servicekit.process.service import StartupError
from trainer.config import TrainerSettings

DATABASE = SecretStr("postgresql:///none")


def told(kind: type[GatewaySettings] | type[TrainerSettings], **values: object) -> QdrantSettings:
    return kind(database_url=DATABASE, **values)


@pytest.mark.parametrize("kind", [GatewaySettings, TrainerSettings])
def test_is_what_a_service_was_told(kind: type[GatewaySettings] | type[TrainerSettings], tmp_path: Path) -> None:
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(b"authorities")
    settings = told(kind, qdrant_address="qdrant:7", qdrant_api_key="k", qdrant_tls=True, qdrant_ca_file=authorities)
    expected = QdrantAddress("qdrant", 7, tls=True, api_key="k", authorities=b"authorities")
    assert QdrantAddress.from_settings(settings) == expected
    assert QdrantAddress.from_settings(told(kind, qdrant_address="qdrant")) == QdrantAddress("qdrant", 6334)


def test_a_port_or_a_file_that_is_none_is_one_line_for_the_operator(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^SIMILIS_QDRANT_ADDRESS is not host:port$"):
        QdrantAddress.from_settings(told(GatewaySettings, qdrant_address="host:port"))
    with pytest.raises(StartupError, match=r"^SIMILIS_QDRANT_CA_FILE cannot be read: No such file"):
        QdrantAddress.from_settings(told(GatewaySettings, qdrant_ca_file=tmp_path / "none"))
