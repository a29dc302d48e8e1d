"""The benchmark of searches. `python bench/search/searches.py --help` explains its options."""
