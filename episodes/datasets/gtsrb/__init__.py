"""German Traffic Signs."""
