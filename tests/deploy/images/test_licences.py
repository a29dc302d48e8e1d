"""Every package of an image may be distributed with it."""

import pytest

from deploy.licences import ALLOWED, STATED_ELSEWHERE, licence_of, packages, unknown_parts

PACKAGES = packages()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_licence_of_each_package_is_known_and_allowed(package: str) -> None:
    licence = licence_of(package)
    assert licence
    assert unknown_parts(licence) == set()


def test_every_image_is_looked_at() -> None:
    assert {image for images in PACKAGES.values() for image in images} == {"gateway", "embedder", "trainer"}
    assert len(PACKAGES) > 60
    assert set(STATED_ELSEWHERE) <= set(PACKAGES)


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND LGPL-2.1-or-later", "UNKNOWN", "AGPL-3.0 OR MIT-foo"])
def test_other_licences_are_noticed(licence: str) -> None:
    assert unknown_parts(licence)
    assert "MIT" in ALLOWED
