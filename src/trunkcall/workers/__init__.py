"""Programs that run inside a child process."""
