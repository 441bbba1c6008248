"""Speed and memory, measured on the spot."""
