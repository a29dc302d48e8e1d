"""Attacks on a running instance, and how it behaves."""
