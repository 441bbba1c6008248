"""What changes the weights: Adam for everything, Muon for the convolutions and Adam for the rest, or Nesterov's SGD."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import unwrap
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from episodes.errors import UserError
from fewshot.training.recipes import Recipe

ADAM, MUON, NESTEROV = "adam", "muon", "nesterov"
OPTIMIZERS = (ADAM, MUON, NESTEROV)
WEIGHT_DECAY = {ADAM: 0.0, MUON: 1.0, NESTEROV: 5e-4}
"""What goes with each where a recipe of another one, or nobody, says it: that of our recipes, and of ResNet-12's."""


AnyTorch = TypeVar("AnyTorch", bound=torch.optim.Optimizer)


def _without_compiler(kind: type[AnyTorch]) -> type[AnyTorch]:
    """An optimizer of PyTorch without what is around its functions for ``torch.compile``, which we keep it out of.

    Their first call imports the whole compiler: every training would begin 2 seconds later.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    plain = {name: unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(unwrap(kind.step))})


_Adam = _without_compiler(torch.optim.Adam)
_Muon = _without_compiler(torch.optim.Muon)
_SGD = _without_compiler(torch.optim.SGD)


class MuonAndAdam:
    """Muon (Jordan et al. 2024) for the weights of all convolutions, Adam for all other parameters.

    Muon replaces the momentum of a matrix by its nearest orthogonal one, so that no direction of the weights learns
    slower than another. A convolution is the matrix of its output channels against all it multiplies. Its steps are
    scaled to the size of Adam's (Liu et al. 2025, "Muon is scalable for LLM training"), so both share one learning
    rate. It looks to the training loop like one of torch.optim.
    """

    def __init__(
        self, method: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        convolutions = [layer.weight for layer in method.modules() if isinstance(layer, nn.Conv2d)]
        if not convolutions:
            raise UserError(f"--optimizer {MUON} is for convolutions, and this model has none: use --optimizer {ADAM}")
        self._convolutions = convolutions
        self._matrices = [nn.Parameter(_as_matrix(weight.detach())) for weight in convolutions]
        taken = {id(weight) for weight in convolutions}
        others = [parameter for parameter in method.parameters() if id(parameter) not in taken]
        self._muon = _Muon(self._matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._adam = _Adam(others, lr=learning_rate, betas=betas)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of both, whose learning rates may be set."""
        return [*self._muon.param_groups, *self._adam.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """The moments of every parameter."""
        return {**self._muon.state, **self._adam.state}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self._convolutions:
            weight.grad = None
        self._adam.zero_grad()

    def step(self) -> None:
        """Change the weights by their gradients."""
        for weight, matrix in zip(self._convolutions, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else _laid_out_as(weight.grad, weight)
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """As of torch.optim; the matrices come first."""
        ahead = len(self._matrices)
        of_adam = self._adam.state_dict()["state"]
        return {"state": self._muon.state_dict()["state"] | {ahead + i: moments for i, moments in of_adam.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As of torch.optim."""
        ahead, state = len(self._matrices), state_dict["state"]
        of_muon = {index: moments for index, moments in state.items() if index < ahead}
        of_adam = {index - ahead: moments for index, moments in state.items() if index >= ahead}
        self._muon.load_state_dict(self._muon.state_dict() | {"state": of_muon})
        self._adam.load_state_dict(self._adam.state_dict() | {"state": of_adam})


AnyOptimizer: TypeAlias = torch.optim.Optimizer | MuonAndAdam


def optimizer_for(method: nn.Module, recipe: Recipe) -> AnyOptimizer:
    """The recipe's: Adam (Kingma and Ba 2015) where it names none.

    Adam adds weight decay, where a recipe has any, to the gradient, as in the papers. With Muon it is that of the
    convolutions alone, which every step shrinks by learning rate times decay (Loshchilov and Hutter 2019): the scale
    of their weights is then in balance with the size of the steps. SGD with Nesterov's momentum (Sutskever et al. 2013)
    is what ResNet-12 is trained by in its papers; it adds weight decay to the gradient, too.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    momentum = 0.9 if recipe.momentum is None else recipe.momentum
    if recipe.optimizer == MUON:
        return MuonAndAdam(method, rate, (momentum, 0.999), decay)
    if recipe.optimizer == NESTEROV:
        return _SGD(method.parameters(), lr=rate, momentum=momentum, weight_decay=decay, nesterov=True)
    betas = (momentum, 0.999)
    return _Adam(method.parameters(), lr=rate, betas=betas, weight_decay=decay)


def _as_matrix(weight: Tensor) -> Tensor:
    """The very numbers of a convolution's weights, in the order in which they lie, as (channels out, the rest)."""
    matrix = _laid_out_as(weight, weight)
    assert matrix.data_ptr() == weight.data_ptr(), "a copy would be trained in vain"
    return matrix


def _laid_out_as(tensor: Tensor, weight: Tensor) -> Tensor:
    """``tensor`` as a matrix, in the order in which ``weight`` lies in memory: channels last, or first."""
    return (tensor if weight.is_contiguous() else tensor.permute(0, 2, 3, 1)).flatten(1)
