"""tieredImageNet (Ren et al. 2018): 608 ImageNet classes, divided by their categories, 84x84."""

from __future__ import annotations

from episodes.datasets.layouts import ClassFolders
from episodes.datasets.listed import ListedDataset
from episodes.datasets.tieredimagenet.card import CARD
from episodes.datasets.tieredimagenet.layouts import RenCaches


class TieredImageNet(ListedDataset):
    """tieredImageNet from folders of WordNet's ids, or from the caches of Ren et al.

    The caches do not say these ids, so that their classes come in another order, and episodes of one seed are others.
    """

    card = CARD
    layouts = (ClassFolders, RenCaches)
    sizes = ()  # its caches hold 84x84
    center_crop = False  # squeezed, as in the caches
    num_images = 779_165
    comes_from = (
        "tiered-imagenet.tar (12.9 GB) of https://github.com/renmengye/few-shot-ssl-public, or folders train/, val/ "
        "and test/ with one folder per class (n01530575 and so on)"
    )
