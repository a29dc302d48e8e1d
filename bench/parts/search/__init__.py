"""Parts of the benchmarks that search."""
