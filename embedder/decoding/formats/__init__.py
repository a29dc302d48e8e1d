"""What single file formats need beyond Pillow, so that no valid file is refused and none is misread."""
