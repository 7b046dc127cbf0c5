"""Dispatch, policy and supervision: no concrete backend names."""
