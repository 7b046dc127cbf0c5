"""Head-to-head benchmarks, each a command that prints a table."""
