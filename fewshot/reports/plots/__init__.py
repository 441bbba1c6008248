"""The drawn figures."""
