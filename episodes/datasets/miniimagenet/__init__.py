"""miniImageNet (Vinyals et al. 2016; split of Ravi and Larochelle 2017)."""

from episodes.datasets.miniimagenet.dataset import MiniImageNet

__all__ = ["MiniImageNet"]
