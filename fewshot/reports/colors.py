"""The colors and the font of pages and pictures: no other module types a color."""

LIGHT = {"ink": "#1b2027", "muted": "#5a6370", "grid": "#e0e3e8", "paper": "#ffffff", "accent": "#b33f00"}
DARK = {"ink": "#e9ecf0", "muted": "#a6b0bd", "grid": "#333b46", "paper": "#191e25", "accent": "#ff9a5c"}
INK, MUTED, GRID, PAPER, ACCENT = LIGHT.values()
SERIES = ("#2a7fc1", "#d5600f", "#12946f", "#a660bd", "#a8760f", "#c94f7c", "#5f7f1f", "#6d74d6", "#2b93a3", "#8a6d5a")
"""Told from each other, and from white and from near-black alike (contrast 3:1 or more)."""
TINTS = ("#dcebf5", "#fae6d8", "#d9efe8")
"""Pale, behind what stands in the first three of SERIES."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
