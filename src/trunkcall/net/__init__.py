"""The edges: relay, HTTP client pool, listeners and links between processes."""
