"""What a benchmark reports: figures with their bars, a table, charts, and a record of all workloads."""
