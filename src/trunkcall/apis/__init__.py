"""Client protocols served by us, one file each."""
