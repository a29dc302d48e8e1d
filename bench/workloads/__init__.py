"""The workloads that `bench/performance.py` measures. Each module has one, with a function `measure`."""
