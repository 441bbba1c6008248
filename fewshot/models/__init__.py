"""Encoders, methods, losses and read-outs: all that maps images to logits."""
