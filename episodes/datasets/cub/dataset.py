"""CUB-200-2011 (Wah et al. 2011): birds, a folder for each species."""

from __future__ import annotations

from episodes.datasets.cub.card import CARD
from episodes.datasets.listed import Archive, ListedDataset


class Cub(ListedDataset):
    """CUB-200-2011 in whole photos, center-cropped; not cut to the boxes of the birds (Chen et al. 2019)."""

    card = CARD
    num_images = 11_788
    comes_from = "CUB_200_2011.tgz (1.2 GB) of https://data.caltech.edu/records/65de6-vp158"
    archives = (
        Archive(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            "97eceeb196236b17998738112f37df78",
            "CUB_200_2011",
            "CUB_200_2011",
        ),
    )
