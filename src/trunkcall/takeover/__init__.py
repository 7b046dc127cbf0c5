"""The commands of the systems that Trunkcall replaces, read as they were written."""
