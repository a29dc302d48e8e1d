"""Photographs in a folder."""

from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def images_of(folder: Path) -> list[Path]:
    """The images of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
