"""tieredImageNet."""
