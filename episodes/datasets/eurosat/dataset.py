"""EuroSAT in color (Helber et al. 2019): a folder for each kind of land."""

from __future__ import annotations

from episodes.datasets.eurosat.card import CARD
from episodes.datasets.listed import Archive, ListedDataset


class EuroSat(ListedDataset):
    """EuroSAT, of whose 13 bands the three of color are read."""

    card = CARD
    num_images = 27_000
    comes_from = "EuroSAT.zip (90 MB, the RGB version) of https://github.com/phelber/eurosat"
    archives = (
        Archive(
            "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            "c8fa014336c82ac7804f0398fcb19387",  # as torchvision has both
            "eurosat/2750",
            "2750",
        ),
    )
