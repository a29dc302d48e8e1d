"""The command line `similis`."""
