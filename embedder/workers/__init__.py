"""Worker processes that decode images and run the backbone, and the embedder's side of them."""
