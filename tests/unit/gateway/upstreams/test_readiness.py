"""The gateway's readiness names each part that fails, however it fails."""

import asyncio

import pytest

from gateway.upstreams import readiness
from gateway.upstreams.readiness import GatewayReadiness
from servicekit.errors import Unavailable


async def healthy() -> None:
    """A part that answers."""


async def unavailable() -> None:
    raise Unavailable("It is down.")


async def broken() -> None:
    raise RuntimeError("password=secret")


async def hanging() -> None:
    await asyncio.Event().wait()


async def test_every_part_has_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 0.05)
    checks = {"healthy": healthy, "unavailable": unavailable, "broken": broken, "hanging": hanging}
    parts = await GatewayReadiness(lambda: None, checks).parts()
    assert parts.keys() == checks.keys()
    assert [name for name, state in parts.items() if state == "ok"] == ["healthy"]
    assert parts["unavailable"] == "It is down."
    assert "secret" not in parts["broken"]


async def test_concurrent_callers_share_one_check() -> None:
    checks = 0

    async def counted() -> None:
        nonlocal checks
        checks += 1

    checked = GatewayReadiness(lambda: None, {"a": counted})
    await asyncio.gather(*(checked.parts() for _ in range(50)))
    assert checks == 1


async def test_a_gateway_serves_without_its_parts_until_it_shuts_down() -> None:
    draining = False

    def drain() -> None:
        if draining:
            raise Unavailable("It is shutting down.")

    checked = GatewayReadiness(drain, {"a": unavailable})
    assert checked.serves()
    draining = True
    assert not checked.serves()
    assert (await checked.parts())["gateway"] == "It is shutting down."
