"""What clients see of the embedder's backbone."""

import pytest

from gateway.upstreams.embedder import public_name


@pytest.mark.parametrize(
    ("configured", "shown"),
    [
        ("efficientnet-lite0", "efficientnet-lite0"),
        ("google/siglip2-base-patch16-224", "google/siglip2-base-patch16-224"),
        ("/srv/models/our-backbone", "our-backbone"),
        ("/srv/models/our-backbone/", "our-backbone"),
        ("./models/our-backbone", "our-backbone"),
        ("~/models/our-backbone", "our-backbone"),
        (r"C:\models\our-backbone", "our-backbone"),
    ],
)
def test_of_a_folder_only_the_last_part_is_shown(configured: str, shown: str) -> None:
    assert public_name(configured) == shown
