"""What the benchmarks share: processes beside them, and what they are given."""
