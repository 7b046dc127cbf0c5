"""Nouns, errors and ports: no I/O; the standard library and msgspec only."""
