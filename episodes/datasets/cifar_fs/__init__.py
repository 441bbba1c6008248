"""CIFAR-FS."""
