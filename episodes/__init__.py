"""From files to episodes. Knows nothing of models."""
