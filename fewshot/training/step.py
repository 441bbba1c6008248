"""One step of a training: the loss of what was drawn, its gradient, the optimizer. Compiled where that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from episodes.errors import UserError
from episodes.types import Episode, LabeledRows
from fewshot.models.batches import EpisodeImages, LabeledImages, training_images
from fewshot.models.hardware import Precision, autocast, compiler_mode
from fewshot.models.methods.base import Method
from fewshot.training.optimizers import AnyOptimizer

LossOf: TypeAlias = Callable[[Method, EpisodeImages | LabeledImages, bool], Tensor]


def loss_of(method: Method, batch: EpisodeImages | LabeledImages, support_rotation: bool) -> Tensor:
    """The training loss of a batch. With ``support_rotation`` each image of an episode is support once."""
    if isinstance(batch, EpisodeImages):
        return method.loss_over_rotations(batch) if support_rotation else method.loss(batch)
    return method.loss_of_images(batch)


def compiled_loss(device: torch.device) -> LossOf:
    """``loss_of`` and its gradient through PyTorch's compiler: CUDA graphs on a GPU, fused loops on a processor.

    The first steps take longer, by tens of seconds; the weights differ from those of plain steps by rounding. The
    compiled function raises UserError where there is nothing to compile with.
    """
    compiled = torch.compile(loss_of, dynamic=False, mode=compiler_mode(device))

    def one_step(method: Method, batch: EpisodeImages | LabeledImages, support_rotation: bool) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            loss: Tensor = compiled(method, batch, support_rotation)
        except torch._dynamo.exc.TorchDynamoException as error:
            last = str(error).strip().splitlines()[0]
            raise UserError(f"the training step cannot be compiled here ({last}): leave out --compile") from error
        return loss.clone()  # a graph's own memory is written over by the next step

    return one_step


def train_step(
    method: Method,
    optimizer: AnyOptimizer,
    images: Tensor,
    drawn: Episode | LabeledRows,
    precision: Precision,
    augment: Callable[[Tensor], Tensor] | None = None,
    support_rotation: bool = False,
    loss_of: LossOf = loss_of,
) -> Tensor:
    """One gradient step on one episode or batch of images, changed by ``augment``; its loss, still on the device."""
    device = method.encoder.mean.device
    batch = training_images(images, drawn.to(images.device)).to(device)
    with autocast(device, precision):
        if isinstance(batch, LabeledImages):
            batch = batch.times(method.views)
        batch = batch.changed(augment)
        loss = loss_of(method, batch, support_rotation)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    method.trained = True
    return loss.detach()
