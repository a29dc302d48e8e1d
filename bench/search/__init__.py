"""The simulation of a cluster. `python bench/search/capacity.py --help` explains its options."""
