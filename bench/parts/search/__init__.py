"""Parts of `bench/searches.py`."""
