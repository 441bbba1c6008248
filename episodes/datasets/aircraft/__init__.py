"""FGVC-Aircraft."""
