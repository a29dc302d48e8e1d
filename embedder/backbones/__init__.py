"""The backbones that the embedder can serve: their files, preprocessing and output."""
