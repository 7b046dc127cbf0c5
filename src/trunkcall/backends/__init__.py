"""How to talk to a replica, one file per protocol."""
