"""Quantities as messages and settings write them."""

import re

# Of Kubernetes' quantities.
FACTORS = {"": 1, **{unit: 1000**power for power, unit in enumerate("kMGT", 1)}}
FACTORS |= {f"{unit}i": 1024**power for power, unit in enumerate("KMGT", 1)}

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 image" and "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size_in_words(size: int) -> str:
    """Return a number of bytes, such as "20971520 bytes (20 MiB)"."""
    rounded = next((f" ({size // unit} {name})" for unit, name in UNITS if size >= unit and size % unit == 0), "")
    return f"{counted(size, 'byte')}{rounded}"


def bytes_of(quantity: object) -> object:
    """Return the bytes of a size as Kubernetes writes it, such as "512Mi". Other objects are returned unchanged.

    Raises ValueError.
    """
    if not isinstance(quantity, str):
        return quantity
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]i|[kMGT])?", quantity.strip(), re.ASCII)
    if found is None:
        raise ValueError('must be a number of bytes, or a size such as "512Mi" or "4Gi"')
    return int(float(found[1]) * FACTORS[found[2] or ""])
