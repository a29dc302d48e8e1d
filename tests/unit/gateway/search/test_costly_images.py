"""A client whose images cost the embedder too much has to wait, and nobody else does."""

import pytest

from gateway.search.costly_images import AT_ONCE, COSTLY, REMEMBERED_CLIENTS, SECONDS_FOR_ONE, CostlyImages
from servicekit.errors import InvalidRequest, Overloaded


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def send(images: CostlyImages, client: str, code: str = COSTLY[0]) -> None:
    """Send an image that fails with this code."""
    images.check(client)
    with pytest.raises(InvalidRequest), images.charging(client):
        raise InvalidRequest("", code=code)


@pytest.mark.parametrize("code", COSTLY)
def test_a_client_that_sends_costly_images_is_refused_until_it_has_waited(code: str) -> None:
    clock = Clock()
    images = CostlyImages(clock)
    for _ in range(AT_ONCE):
        send(images, "attacker", code)
    with pytest.raises(Overloaded) as refused:
        images.check("attacker")
    assert refused.value.code == "too_many_costly_images"
    assert refused.value.retry_after == SECONDS_FOR_ONE
    images.check("victim")
    clock.now += SECONDS_FOR_ONE
    send(images, "attacker", code)
    with pytest.raises(Overloaded):
        images.check("attacker")
    clock.now += AT_ONCE * SECONDS_FOR_ONE
    for _ in range(AT_ONCE):
        send(images, "attacker", code)


def test_images_that_are_only_damaged_are_not_charged() -> None:
    images = CostlyImages(Clock())
    for _ in range(10 * AT_ONCE):
        send(images, "client", "decode_error")


def test_the_clients_that_are_remembered_are_limited() -> None:
    images = CostlyImages(Clock())
    for number in range(REMEMBERED_CLIENTS + 1):
        for _ in range(AT_ONCE):
            send(images, str(number))
    images.check("0")
    with pytest.raises(Overloaded):
        images.check("1")
