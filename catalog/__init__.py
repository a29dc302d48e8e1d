"""Everything that is stored: one module for each noun. Postgres holds the truth, Qdrant the vectors."""
