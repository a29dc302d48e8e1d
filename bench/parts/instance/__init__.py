"""A running instance as the benchmarks see it: its processes, their memory, and its finetunes."""
