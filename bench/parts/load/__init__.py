"""Load on a running instance."""
