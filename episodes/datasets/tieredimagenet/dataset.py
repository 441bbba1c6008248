"""tieredImageNet (Ren et al. 2018): 608 ImageNet classes, divided by their categories, 84x84."""

from __future__ import annotations

from episodes.datasets.layouts import ClassFolders
from episodes.datasets.listed import ListedDataset
from episodes.datasets.tieredimagenet.card import CARD
from episodes.datasets.tieredimagenet.layouts import RenCaches


class TieredImageNet(ListedDataset):
    """tieredImageNet from folders of WordNet's ids, or from the caches of Ren et al.

    Classes come in one order from both. Images of a class do not: the caches do not say which file each was.
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
