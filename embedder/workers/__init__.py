"""Processes that decode and infer, and what the serving process knows of them."""
