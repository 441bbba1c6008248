"""Strokes: characters that the program draws itself."""
