"""Flowers-102."""
