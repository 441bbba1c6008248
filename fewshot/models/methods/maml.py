"""Model-Agnostic Meta-Learning: gradient steps on the support make the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from episodes.errors import UserError
from fewshot.models.encoders.base import Encoder
from fewshot.models.encoders.conv import set_batch_statistics
from fewshot.models.learn2learn_adapter import import_learn2learn, why_not
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.options import Range, Search, options_of
from fewshot.models.shapes import QueryFeatures, Scores, SupportFeatures, UnlabeledFeatures


class AdaptedMethod(Method):
    """A linear head, or encoder and head, takes gradient steps on the support; then it classifies the queries.

    learn2learn takes the steps where it is installed, ``torch.func`` elsewhere: the same numbers up to rounding.

    A named departure from the papers: every class starts from the same row of the head, which is zero, because softmax
    does not see a row that all classes share (Ye and Chao 2022, UNICORN-MAML). So the classes of an episode have no
    order, and any way can be tested. Equal rows send no gradient back, so the first step moves the head alone. That is
    why the default is more and smaller steps than the one of 0.4 that the paper takes on Omniglot; they were chosen on
    validation classes of strokes.
    """

    adapts: ClassVar[bool] = True
    adapts_encoder: ClassVar[bool] = False
    search: ClassVar[Search] = {"inner_learning_rate": Range(0.01, 0.5)}

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
        self.implementation = "torch.func" if why_not() else "learn2learn"
        self.inner_learning_rate, self.first_order = inner_learning_rate, first_order
        self.inner_steps, self.test_steps = inner_steps, test_steps
        self.embeds_per_episode = self.transductive = batch_norm == "transductive"
        if self.transductive:
            set_batch_statistics(self)
        elif self.adapts_encoder:
            set_support_statistics(self)

    @classmethod
    def images_encoded(cls, options: Mapping[str, Any], support: int, others: int) -> int:
        """With the encoder every step takes the support through it, and the last look does where it is the norm's."""
        if not cls.adapts_encoder:
            return super().images_encoded(options, support, others)
        steps = options.get("inner_steps", options_of(cls)["inner_steps"].default)
        return int((steps + (options.get("batch_norm") != "transductive")) * support + others)

    def logits(
        self, support: SupportFeatures, query: QueryFeatures, unlabeled: UnlabeledFeatures | None = None
    ) -> Scores:
        learning = torch.is_grad_enabled()  # then the steps themselves are differentiated
        adapt = _adapt_by_learn2learn if self.implementation == "learn2learn" else _adapt_by_torch_func
        steps = self.inner_steps if self.training else self.test_steps

        way, shot = support.shape[1:3]
        first_order = self.first_order or not learning

        def of_episode(images: Tensor, query: Tensor) -> Tensor:
            logits = adapt(network, images, labels, query, steps, self.inner_learning_rate, first_order)
            return logits if learning else logits.detach()  # else every episode keeps its graph

        with torch.inference_mode(False), torch.enable_grad():
            network = _EncoderAndHead(self.encoder, way, self.adapts_encoder)
            labels = torch.arange(way, device=support.device).repeat_interleave(shot)
            images, query = support.flatten(1, 2).clone(), query.clone()  # gradients want no inference tensors
            if adapt is _adapt_by_torch_func and not self.adapts_encoder:  # convolutions of many networks gain nothing
                together: Tensor = torch.func.vmap(of_episode)(images, query)
                return together
            return torch.stack([of_episode(*episode) for episode in zip(images, query, strict=True)])


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
    """What adapts: a head, whose weights are zero at first, from embeddings to ``way`` logits; and the encoder or not.

    It takes images with the encoder, embeddings without.
    """

    def __init__(self, encoder: Encoder, way: int, with_encoder: bool) -> None:
        super().__init__()
        self.encoder, like = encoder if with_encoder else nn.Identity(), encoder.mean
        self.head = nn.Linear(encoder.dim, way, device="meta", dtype=like.dtype).to_empty(device=like.device)
        nn.init.zeros_(self.head.weight)  # without drawing random numbers
        nn.init.zeros_(self.head.bias)

    def forward(
        self, support: Float[Tensor, "n *feature"], query: Float[Tensor, "m *feature"] | None = None
    ) -> Float[Tensor, "out way"]:
        """The logits of the support or, where queries are given, theirs."""
        norms = [module for module in self.encoder.modules() if isinstance(module, SupportNorm)]
        for norm in norms:
            norm.num_support = len(support)
        images = support if query is None else (torch.cat([support, query]) if norms else query)
        logits: Tensor = self.head(self.encoder(images))
        return logits if query is None else logits[-len(query) :]


def _adapt_by_torch_func(
    network: nn.Module, images: Tensor, labels: Tensor, query: Tensor, steps: int, rate: float, first_order: bool
) -> Float[Tensor, "queries way"]:
    """The logits of the queries after ``steps`` of gradient descent on the cross-entropy of the support images."""
    parameters: dict[str, Tensor] = {n: weight for n, weight in network.named_parameters() if weight.requires_grad}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(functional_call(network, parameters, images), labels)

    for _ in range(steps):
        with torch.set_grad_enabled(not first_order):  # of the outer derivative; the inner one is taken either way
            gradients = torch.func.grad(loss)(parameters)
        parameters = {name: weight - rate * gradients[name] for name, weight in parameters.items()}
    logits: Tensor = functional_call(network, parameters, (images, query))
    return logits


def _adapt_by_learn2learn(
    network: nn.Module, images: Tensor, labels: Tensor, query: Tensor, steps: int, rate: float, first_order: bool
) -> Float[Tensor, "queries way"]:
    """The same logits, through learn2learn."""
    learner = import_learn2learn().algorithms.MAML(network, lr=rate, first_order=first_order).clone()
    for _ in range(steps):
        learner.adapt(functional.cross_entropy(learner(images), labels))
    logits: Tensor = learner(images, query)
    return logits


@METHODS.register("maml")
class MAML(AdaptedMethod):
    """Encoder and head adapt together (Finn, Abbeel and Levine 2017, algorithm 2).

    ``w <- w - inner_learning_rate * gradient of the support's cross-entropy at w``, so many steps; the training loss is
    the queries' cross-entropy at the last w, differentiated through all steps (``first_order``: not through them).

    Its embedding of an image is the image itself: what is made of it depends on the episode. Batch norm uses the
    statistics of the support; ``batch_norm="transductive"`` is the released code, which classifies the queries by
    their own. For miniImageNet the paper takes ``inner_learning_rate`` 0.01, 5 steps, and 10 in the test.
    """

    title = "MAML: gradient steps on the support adapt the whole network"
    source = "Finn, Abbeel and Levine, ICML 2017"
    formula = r"w_{t+1}=w_t-\alpha\,\nabla_w\mathcal{L}_S(w_t),\quad\mathcal{L}=\mathcal{L}_Q(w_T)"

    adapts_encoder = True

    def embed(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The pixels, 0 to 255, as they are."""
        return images.to(self.encoder.mean.dtype)

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        return (way * shot + queries + unlabeled) * torch.Size(self.encoder.image_shape).numel()


@METHODS.register("anil")
class ANIL(AdaptedMethod):
    """The head alone adapts; the encoder learns embeddings for which few steps suffice (Raghu et al. 2020).

    The steps are those of MAML, with the head in the place of all weights.
    """

    title = "ANIL: gradient steps on the support adapt the head alone"
    source = "Raghu, Raghu, Bengio and Vinyals, ICLR 2020"
    formula = (
        r"\phi_{t+1}=\phi_t-\alpha\,\nabla_\phi\mathcal{L}_S(\theta,\phi_t),\quad\mathcal{L}="
        r"\mathcal{L}_Q(\theta,\phi_T)"
    )
