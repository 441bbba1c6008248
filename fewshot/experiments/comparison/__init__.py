"""A comparison of methods on equal terms: what the terms are, tuning within them, and what is switched on and off."""
