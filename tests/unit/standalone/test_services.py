"""The settings and command lines of the children."""

from pathlib import Path

import pytest

from standalone.instance.addresses import Addresses
from standalone.instance.data_directory import DataDirectory
from standalone.services import Services, child_environment


def services(environment: dict[str, str], *, allow_private_addresses: bool = False) -> Services:
    addresses = Addresses("127.0.0.1", 8080, Path("/run"))
    return Services(
        DataDirectory(Path("/data")),
        addresses,
        environment=environment,
        grace_seconds=20.0,
        allow_private_addresses=allow_private_addresses,
    )


def test_the_operators_settings_pass_through_and_ours_take_precedence() -> None:
    operators = {
        "SIMILIS_BACKBONE": "./my-model",
        "SIMILIS_DATABASE_URL": "postgresql://elsewhere",
        "SIMILIS_DATABASE_URL_FILE": "/secret",
        "SIMILIS_QDRANT_API_KEY": "elsewhere",
        "PGHOST": "elsewhere",
        "HOME": "/home/me",
    }
    gateway = services(operators).gateway().command.environment
    assert gateway["SIMILIS_BACKBONE"] == "./my-model"
    assert gateway["SIMILIS_DATABASE_URL"] == "postgresql://similis@/similis?host=/run/postgres&port=5432"
    assert gateway["HOME"] == "/home/me"
    assert not {"SIMILIS_DATABASE_URL_FILE", "SIMILIS_QDRANT_API_KEY", "PGHOST"} & set(gateway)


def test_children_log_json_whatever_format_the_supervisor_uses() -> None:
    assert child_environment({"SIMILIS_LOG_FORMAT": "console"}, {"LOG_FORMAT": "json"})["SIMILIS_LOG_FORMAT"] == "json"


@pytest.mark.parametrize("allowed", [True, False])
def test_only_the_command_line_allows_private_addresses(allowed: bool) -> None:
    children = services({"SIMILIS_ALLOW_PRIVATE_ADDRESSES": "true"}, allow_private_addresses=allowed)
    for child in (children.trainer(), children.gateway()):
        assert child.command.environment["SIMILIS_ALLOW_PRIVATE_ADDRESSES"] == str(allowed).lower()


def test_no_command_line_contains_a_database_url_or_a_secret() -> None:
    children = services({"SIMILIS_SOME_SECRET": "hunter2"})
    for spec in (children.qdrant(), children.trainer(), children.gateway()):
        words = " ".join(spec.command.arguments)
        assert "postgresql" not in words
        assert "hunter2" not in words
