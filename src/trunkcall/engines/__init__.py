"""How to start a replica: pure plans, one file per engine."""
