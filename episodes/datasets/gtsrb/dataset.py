"""The German Traffic Sign Recognition Benchmark (Stallkamp et al. 2012): its training images alone."""

from __future__ import annotations

from episodes.datasets.gtsrb.card import CARD
from episodes.datasets.listed import Archive, ListedDataset


class Gtsrb(ListedDataset):
    """GTSRB, tested on all of its signs. 30 images in a row are of one sign: support and query may show the same."""

    card = CARD
    comes_from = (
        "GTSRB-Training_fixed.zip (187 MB, or GTSRB_Final_Training_Images.zip) of https://benchmark.ini.rub.de/"
    )
    archives = (
        Archive(
            "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB-Training_fixed.zip",
            "513f3c79a4c5141765e10e952eaa2478",  # as torchvision has it
            "gtsrb/GTSRB/Training",
            "GTSRB/Training",
        ),
    )
