"""Parts of `bench/search/searches.py`."""
