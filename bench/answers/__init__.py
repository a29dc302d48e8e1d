"""Benchmarks of adapters and of the groups they learn. `python bench/answers/NAME.py --help` explains the options."""
