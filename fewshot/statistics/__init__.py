"""Intervals, paired tests and ranks. No torch."""
