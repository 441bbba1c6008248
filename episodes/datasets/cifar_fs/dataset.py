"""CIFAR-FS: CIFAR-100 under the class split of Bertinetto et al. (2019), drawn at random."""

from __future__ import annotations

from episodes.datasets.cifar100 import Cifar100
from episodes.datasets.cifar_fs.card import CARD


class CifarFs(Cifar100):
    """CIFAR-100 under the class split of Bertinetto et al. (2019), drawn at random."""

    card = CARD
