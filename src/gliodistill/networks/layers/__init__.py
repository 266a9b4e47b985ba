"""Layers of the architectures."""
