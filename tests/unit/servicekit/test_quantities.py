"""Quantities in messages."""

import pytest

from servicekit.quantities import bytes_of, counted, size_in_words


def test_a_noun_agrees_with_its_number() -> None:
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_a_round_size_is_given_in_its_unit_too() -> None:
    assert size_in_words(20 << 20) == "20971520 bytes (20 MiB)"
    assert size_in_words(1536) == "1536 bytes"
    assert size_in_words(1) == "1 byte"


def test_a_size_in_kubernetes_units_is_a_number_of_bytes() -> None:
    texts = ("4096", "512Mi", "4Gi", "1.5Gi", "2G", "1k")
    assert [bytes_of(text) for text in texts] == [4096, 512 << 20, 4 << 30, 3 << 29, 2_000_000_000, 1000]
    assert bytes_of(4096) == 4096


@pytest.mark.parametrize("text", ["", "4GiB", "-1", "four", "4 Gi", "1e3"])
def test_a_size_in_other_units_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="512Mi"):
        bytes_of(text)
