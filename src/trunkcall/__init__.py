"""Trunkcall: any client protocol in, any language model engine behind, one control plane."""

__version__ = "0.1.0"
