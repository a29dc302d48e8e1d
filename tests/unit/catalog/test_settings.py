"""The settings of the services that use Postgres and Qdrant."""

from typing import Any

import pytest

from catalog.settings import StoreSettings
from gateway.config import GatewaySettings
from servicekit.settings import SettingsError, load_settings
from trainer.config import TrainerSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMILIS_DATABASE_URL", "postgresql:///similis")


@pytest.mark.parametrize("kind", [GatewaySettings, TrainerSettings])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("QDRANT_ADDRESS", "http://qdrant:6334", "expected HOST:PORT"),
        ("QDRANT_ADDRESS", "", "expected HOST:PORT"),
        ("QDRANT_ADDRESS", "qdrant:port", "expected HOST:PORT"),
        ("QDRANT_ADDRESS", "qdrant:6333", "6333 is the port of Qdrant's REST API; use that of its gRPC API"),
        ("QDRANT_ADDRESS", "dns:///qdrant:6333", "6333 is the port of Qdrant's REST API"),
        ("EMBEDDER_ADDRESS", "http://embedder:9001", "expected HOST:PORT"),
        ("EMBEDDER_ADDRESS", "embedder", "expected HOST:PORT"),
        ("VECTOR_PREFIX", "", "String should match pattern"),
        ("VECTOR_PREFIX", "two words", "String should match pattern"),
        ("DATABASE_URL", "mysql://similis@db/similis", "expected postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("DATABASE_URL", "", "expected postgresql://"),
        ("DATABASE_URL", "postgresql://me@db:port/similis", "expected postgresql://"),
        ("DATABASE_URL", "postgresql:///similis?host=/run/postgres&port=5432_later", "expected postgresql://"),
    ],
)
def test_a_wrong_value_is_refused_at_the_start_and_named(
    monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"SIMILIS_{name}", value)
    with pytest.raises(SettingsError) as error:
        load_settings(kind)
    assert str(error.value).startswith(f"SIMILIS_{name}: {expected}")


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("qdrant", "qdrant:6334"),
        ("qdrant:7000", "qdrant:7000"),
        ("dns:///qdrant-headless", "dns:///qdrant-headless:6334"),
        ("unix:/run/similis/qdrant.sock", "unix:/run/similis/qdrant.sock"),
    ],
)
def test_the_address_of_qdrant_may_leave_out_the_port(monkeypatch: pytest.MonkeyPatch, value: str, target: str) -> None:
    monkeypatch.setenv("SIMILIS_QDRANT_ADDRESS", value)
    assert load_settings(StoreSettings).qdrant_address == target


@pytest.mark.parametrize(
    "url",
    [
        "postgres://db/similis",
        "postgresql://me:p%40ss:word@db:5432/similis?sslmode=verify-full",
        "postgresql://me@[::1]/similis",
        "postgresql://me@[::1]:5432/similis",
        "postgresql://me@a:1,b:2/similis",
        "postgresql://me@/similis?host=/run/postgres&port=5432",
        "postgresql:///similis",
    ],
)
def test_every_form_of_a_database_url_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SIMILIS_DATABASE_URL", url)
    assert load_settings(StoreSettings).database_url.get_secret_value() == url


def test_the_password_is_never_part_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMILIS_DATABASE_URL", "user:secret@host/db")
    with pytest.raises(SettingsError) as error:
        load_settings(GatewaySettings)
    assert "secret" not in str(error.value)
