"""The commands that call a service."""
