"""Quantities as messages write them."""

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 image" and "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size_in_words(size: int) -> str:
    """Return a number of bytes, such as "20971520 bytes (20 MiB)"."""
    rounded = next((f" ({size // unit} {name})" for unit, name in UNITS if size >= unit and size % unit == 0), "")
    return f"{counted(size, 'byte')}{rounded}"
