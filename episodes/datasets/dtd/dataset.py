"""The Describable Textures Dataset (Cimpoi et al. 2014): a folder for each texture."""

from __future__ import annotations

from episodes.datasets.dtd.card import CARD
from episodes.datasets.listed import Archive, ListedDataset


class Dtd(ListedDataset):
    """DTD: all photos of a texture, whatever its ten lists of training and test images say."""

    card = CARD
    images_per_class = 120
    comes_from = "dtd-r1.0.1.tar.gz (625 MB) of https://www.robots.ox.ac.uk/~vgg/data/dtd/"
    archives = (
        Archive(
            "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
            "fff73e5086ae6bdbea199a49dfb8a4c1",  # as torchvision has it
            "dtd/dtd",
            "dtd",
        ),
    )
