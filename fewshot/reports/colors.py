"""The colors and the font of pages and pictures: no other module types a color."""

LIGHT = {"ink": "#1b2027", "muted": "#5a6370", "grid": "#e0e3e8", "paper": "#ffffff", "accent": "#b33f00"}
DARK = {"ink": "#e9ecf0", "muted": "#a6b0bd", "grid": "#333b46", "paper": "#191e25", "accent": "#ff9a5c"}
INK, MUTED, GRID, PAPER, ACCENT = LIGHT.values()
SERIES = ("#3d97e3", "#b84a08", "#008878", "#8850b8", "#d08010", "#a84878", "#707008", "#5068c8", "#30a0b0", "#a08860")
"""Told from white and from near-black alike (contrast 3:1 or more). The first five are told from each other by
everyone, with a color vision deficiency, too, and so are the last five: of more than five the others have another mark.
"""
MARKS = ("o", "s", "^", "D", "v", "P")
"""The first for five series, the next for the next five, and so on: see ``series``."""
TINTS = ("#dcebf5", "#fae6d8", "#d9efe8")
"""Pale, behind what stands in the first three of SERIES."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def series(number: int) -> tuple[str, str]:
    """Color and mark of the series 0, 1, ...: thirty before a pair of them comes again."""
    return SERIES[number % len(SERIES)], MARKS[number // 5 % len(MARKS)]
