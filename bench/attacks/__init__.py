"""Attacks on a running instance, and what becomes of it."""
