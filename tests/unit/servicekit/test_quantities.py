"""Quantities in messages."""

from servicekit.quantities import counted, size_in_words


def test_a_noun_agrees_with_its_number() -> None:
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_a_round_size_is_given_in_its_unit_too() -> None:
    assert size_in_words(20 << 20) == "20971520 bytes (20 MiB)"
    assert size_in_words(1536) == "1536 bytes"
    assert size_in_words(1) == "1 byte"
