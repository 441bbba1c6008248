"""Describable Textures."""
