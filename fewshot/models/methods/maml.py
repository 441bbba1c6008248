"""Model-Agnostic Meta-Learning, through learn2learn: gradient steps on the support make the classifier."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.encoders.base import Encoder
from fewshot.models.encoders.conv import set_batch_statistics
from fewshot.models.learn2learn_adapter import import_learn2learn, why_not
from fewshot.models.methods.base import METHODS, Method


class AdaptedMethod(Method):
    """A linear head, and what the subclass adds, takes gradient steps on the support; then it classifies the queries.

    A named departure from the papers: every class starts from the same row of the head, which is zero, because softmax
    does not see a row that all classes share (Ye and Chao 2022, UNICORN-MAML). So the classes of an episode have no
    order, and any way can be tested. Equal rows send no gradient back, so the first step moves the head alone. That is
    why the default is more and smaller steps than the one of 0.4 that the paper takes on Omniglot; they were chosen on
    validation classes of strokes.
    """

    adapts: ClassVar[bool] = True
    adapts_encoder: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        inner_learning_rate: float = 0.1,
        inner_steps: int = 5,
        test_steps: int = 5,
        first_order: bool = False,
        batch_norm: Literal["inductive", "transductive"] = "inductive",
    ) -> None:
        super().__init__(encoder)
        if min(inner_steps, test_steps) < 1:
            raise UserError("--inner-steps and --test-steps must be 1 or more: without a step every class is alike")
        import_learn2learn()  # raises GuestError, with the way to install it, before anything runs
        self.inner_learning_rate, self.first_order = inner_learning_rate, first_order
        self.inner_steps, self.test_steps = inner_steps, test_steps
        self.sees_whole_episode = self.transductive = batch_norm == "transductive"
        if self.transductive:
            set_batch_statistics(self)
        elif self.adapts_encoder:
            set_support_statistics(self)

    @classmethod
    def unavailable(cls) -> str:
        """Why learn2learn cannot be used, and how to install it."""
        return why_not()

    @abstractmethod
    def network(self, head: nn.Linear) -> nn.Module:
        """What adapts: called with the support it gives the support's logits, with support and query the query's."""

    def logits(
        self,
        support: Float[Tensor, "batch way shot *feature"],
        query: Float[Tensor, "batch queries *feature"],
        unlabeled: Float[Tensor, "batch unlabeled *feature"] | None = None,
    ) -> Float[Tensor, "batch queries way"]:
        learning = torch.is_grad_enabled()  # then the steps themselves are differentiated
        with torch.inference_mode(False), torch.enable_grad():
            episodes = zip(support.clone(), query.clone(), strict=True)  # clones: gradients want no inference tensors
            logits = (self._episode_logits(*episode, learning) for episode in episodes)
            if learning:
                return torch.stack([*logits])
            return torch.stack([of_episode.detach() for of_episode in logits])  # else every episode keeps its graph

    def _episode_logits(
        self, support: Float[Tensor, "way shot *feature"], query: Float[Tensor, "queries *feature"], learning: bool
    ) -> Float[Tensor, "queries way"]:
        way, shot = support.shape[:2]
        images, labels = support.flatten(0, 1), torch.arange(way, device=support.device).repeat_interleave(shot)
        network, first_order = self.network(_zero_head(self.encoder, way)), self.first_order or not learning
        maml = import_learn2learn().algorithms.MAML(network, lr=self.inner_learning_rate, first_order=first_order)
        learner = maml.clone()
        for _ in range(self.inner_steps if self.training else self.test_steps):
            learner.adapt(functional.cross_entropy(learner(images), labels))
        logits: Tensor = learner(images, query)
        return logits


def _zero_head(encoder: Encoder, way: int) -> nn.Linear:
    """From embeddings to ``way`` logits, all zero; it draws no random numbers."""
    like = encoder.mean
    head = nn.Linear(encoder.dim, way, device="meta", dtype=like.dtype).to_empty(device=like.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class SupportNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of the first images of a batch, ``num_support`` of them; all, where it is None.

    Steps as large as MAML's need statistics of the episode at hand; the support's alone leave every query independent
    of the others (the MetaBN of Bronskill et al. 2020).
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, track_running_stats=False)
        self.num_support: int | None = None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        variance, mean = torch.var_mean(x[: self.num_support], dim=(0, 2, 3), correction=0, keepdim=True)
        scale = self.weight.view(1, -1, 1, 1) * torch.rsqrt(variance + self.eps)
        return (x - mean) * scale + self.bias.view(1, -1, 1, 1)


def set_support_statistics(module: nn.Module) -> None:
    """Put a SupportNorm in the place of every batch norm inside."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SupportNorm(child))
        else:
            set_support_statistics(child)


class _EncoderAndHead(nn.Module):
    """Pixels, as floating-point numbers, to logits."""

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(
        self, support: Float[Tensor, "n c h w"], query: Float[Tensor, "m c h w"] | None = None
    ) -> Float[Tensor, "out way"]:
        norms = [module for module in self.encoder.modules() if isinstance(module, SupportNorm)]
        for norm in norms:
            norm.num_support = len(support)
        images = support if query is None else (torch.cat([support, query]) if norms else query)
        logits: Tensor = self.head(self.encoder(images.to(torch.uint8)))
        return logits if query is None else logits[-len(query) :]


class _Head(nn.Module):
    """Embeddings to logits."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, support: Float[Tensor, "n dim"], query: Float[Tensor, "m dim"] | None = None
    ) -> Float[Tensor, "out way"]:
        logits: Tensor = self.head(support if query is None else query)
        return logits


@METHODS.register("maml")
class MAML(AdaptedMethod):
    """Encoder and head adapt together (Finn, Abbeel and Levine 2017, algorithm 2).

    Its embedding of an image is the image itself: what is made of it depends on the episode. Batch norm uses the
    statistics of the support; ``batch_norm="transductive"`` is the released code, which classifies the queries by
    their own. For miniImageNet the paper takes ``inner_learning_rate`` 0.01, 5 steps, and 10 in the test.
    """

    title = "MAML: gradient steps on the support adapt the whole network (through learn2learn)"
    source = "Finn, Abbeel and Levine, ICML 2017"

    adapts_encoder = True

    def embed(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The pixels, 0 to 255, as they are."""
        return images.to(self.encoder.mean.dtype)

    def network(self, head: nn.Linear) -> nn.Module:
        return _EncoderAndHead(self.encoder, head)

    def working_numbers(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        return (way * shot + queries + unlabeled) * torch.Size(self.encoder.image_shape).numel()


@METHODS.register("anil")
class ANIL(AdaptedMethod):
    """The head alone adapts; the encoder learns embeddings for which few steps suffice (Raghu et al. 2020)."""

    title = "ANIL: gradient steps on the support adapt the head alone (through learn2learn)"
    source = "Raghu, Raghu, Bengio and Vinyals, ICLR 2020"

    def network(self, head: nn.Linear) -> nn.Module:
        return _Head(head)
