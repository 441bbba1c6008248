"""FC100: CIFAR-100 under the class split of Oreshkin et al. (2018): no superclass is in two splits."""

from __future__ import annotations

from episodes.datasets.cifar100 import Cifar100
from episodes.datasets.fc100.card import CARD


class Fc100(Cifar100):
    """CIFAR-100 under the class split of Oreshkin et al. (2018): no superclass is in two splits."""

    card = CARD
