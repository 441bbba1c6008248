"""Muon for the convolutions, Adam for the rest: its formula, its memory layout, its state; Nesterov's SGD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from episodes.errors import Interrupted, UserError
from fewshot.experiments.config import RunConfig
from fewshot.models.methods import Method
from fewshot.training import loop as training
from fewshot.training.optimizers import MuonAndAdam, optimizer_for
from fewshot.training.recipes import Recipe
from toy_classes import QUICK, FewStrokes
from toy_training import identical, method_of, press_ctrl_c_at, trained

MUON = replace(QUICK, optimizer="muon")


def with_gradients(*, channels_last: bool = True) -> Method:
    """A method in training, whose gradients follow from nothing but a seed."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    method = method_of().to(memory_format=layout)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(3)
    for parameter in method.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    assert isinstance(method, Method)
    return method


def change_of(method: Method, steps: int = 1) -> dict[str, torch.Tensor]:
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    optimizer = optimizer_for(method, MUON)
    for _ in range(steps):
        optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in method.named_parameters()}


def test_nesterov_is_sgd_that_looks_ahead() -> None:
    """Two steps by hand (Sutskever et al. 2013, as PyTorch writes it): with weight decay in the gradient."""
    method = with_gradients()
    recipe = replace(QUICK, optimizer="nesterov", learning_rate=0.1, weight_decay=0.01)
    name, parameter = next((name, found) for name, found in method.named_parameters() if found.ndim == 4)
    weight = parameter.detach().double()
    assert parameter.grad is not None
    slope = parameter.grad.double()
    optimizer = optimizer_for(method, recipe)
    velocity = torch.zeros_like(weight)
    for _ in range(2):
        optimizer.step()
        gradient = slope + 0.01 * weight
        velocity = 0.9 * velocity + gradient
        weight = weight - 0.1 * (gradient + 0.9 * velocity)
    torch.testing.assert_close(dict(method.named_parameters())[name].detach().double(), weight, rtol=1e-5, atol=1e-6)


def test_a_convolution_moves_by_the_orthogonal_matrix_nearest_to_its_gradient() -> None:
    """In the first step momentum is the gradient; Muon's iteration ends at singular values about 1, not at 1."""
    method = with_gradients()
    changes = change_of(method)
    looked_at = 0
    for name, parameter in method.named_parameters():
        if parameter.ndim != 4 or min(parameter.shape[0], parameter[0].numel()) == 1:
            continue
        assert parameter.grad is not None
        gradient, step = parameter.grad.flatten(1).double(), changes[name].flatten(1).double()
        left, _, right = torch.linalg.svd(gradient, full_matrices=False)
        size = MUON.learning_rate * 0.2 * max(gradient.shape) ** 0.5
        assert 0.6 < torch.linalg.svdvals(step / size).min() < torch.linalg.svdvals(step / size).max() < 1.3
        cosine = torch.nn.functional.cosine_similarity(step.flatten(), -(left @ right).flatten(), dim=0)
        assert cosine > 0.97
        looked_at += 1
    assert looked_at > 0


def test_all_other_parameters_move_as_adam_moves_them() -> None:
    method, reference = with_gradients(), with_gradients()
    before = {name: parameter.detach().clone() for name, parameter in reference.named_parameters()}
    torch.optim.Adam(reference.parameters(), lr=MUON.learning_rate).step()
    changes = change_of(method)
    others = [name for name, parameter in reference.named_parameters() if parameter.ndim != 4]
    assert others
    for name in others:
        assert torch.equal(changes[name], reference.get_parameter(name).detach() - before[name])


def test_the_layout_of_the_weights_in_memory_does_not_matter() -> None:
    last, first = (change_of(with_gradients(channels_last=word), steps=3) for word in (True, False))
    for name, change in last.items():
        assert torch.allclose(change, first[name], atol=0.02 * float(change.abs().max()) + 1e-9), name


def test_the_learning_rate_of_the_schedule_reaches_both() -> None:
    method = with_gradients()
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    optimizer = optimizer_for(method, MUON)
    recipe = replace(MUON, learning_rate=1e-12, warmup=0)
    training._prepare_step(optimizer, recipe, seed=0, episode=0, device=torch.device("cpu"))
    optimizer.step()
    assert all(torch.allclose(p, before[name], atol=1e-9) for name, p in method.named_parameters())


def test_gradients_are_forgotten_between_steps() -> None:
    method = with_gradients()
    optimizer = optimizer_for(method, MUON)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in method.parameters())


def test_an_interrupted_training_with_muon_goes_on_to_the_very_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_STATES", -1.0)
    monkeypatch.setattr(training, "_LOSS_CHECK", 1)
    path = tmp_path / "state.safetensors"
    undisturbed, _ = trained(MUON)
    with pytest.raises(Interrupted):
        trained(MUON, state_path=path, on_progress=press_ctrl_c_at(12))
    resumed, _ = trained(MUON, state_path=path)
    assert identical(resumed, undisturbed)
    assert not identical(undisturbed, trained(QUICK)[0])


def test_a_model_without_convolutions_is_told_to_use_adam() -> None:
    with pytest.raises(UserError, match="use --optimizer adam"):
        MuonAndAdam(torch.nn.Linear(2, 2), 1e-3, (0.9, 0.999), 0.0)


def test_an_unknown_optimizer_is_refused_and_adam_by_name_is_the_default_itself() -> None:
    def resolved(**changes: Any) -> Recipe:
        training = RunConfig(recipe=replace(QUICK, **changes)).resolve(FewStrokes()).training
        assert training is not None
        return training.recipe

    with pytest.raises(UserError, match="muon"):
        resolved(optimizer="mun")
    assert resolved(optimizer="adam") == resolved()
    assert resolved(optimizer="muon").optimizer == "muon"
