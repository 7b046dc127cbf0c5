"""Where a replica runs."""
