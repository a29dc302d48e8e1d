"""Parts that the benchmarks share: processes that measure or serve, and their images."""
