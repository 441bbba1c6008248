"""miniImageNet (Vinyals et al. 2016; split of Ravi and Larochelle 2017)."""
