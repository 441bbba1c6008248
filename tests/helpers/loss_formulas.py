"""The formulas of the papers as plain loops: slow, in the order in which they are printed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

Formula = Callable[[Any, Tensor, Tensor, dict[str, Any]], float]


@dataclass(frozen=True)
class Case:
    """A formula, and the options under which it is compared."""

    formula: Formula
    options: tuple[dict[str, Any], ...] = ({},)


def log_sum_exp(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


def dot(left: Tensor, right: Tensor) -> float:
    return sum(float(a) * float(b) for a, b in zip(left, right, strict=True))


def square(left: Tensor, right: Tensor) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(left, right, strict=True))


def unit(vectors: Tensor) -> Tensor:
    lengths: Tensor = vectors.square().sum(1, keepdim=True).sqrt()
    return vectors / lengths


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def negative_log_softmax(scores: list[float], own: int) -> float:
    return log_sum_exp(scores) - scores[own]


def softmax(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:  # noqa: ARG001
    scores = x @ loss.classify.weight.T + loss.classify.bias
    return mean([negative_log_softmax(row.tolist(), int(own)) for row, own in zip(scores, y, strict=True)])


def cosine_softmax(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    weights, scale = unit(loss.weights), options.get("scale", 10.0)
    rows = [[scale * dot(image, weight) for weight in weights] for image in unit(x)]
    return mean([negative_log_softmax(row, int(own)) for row, own in zip(rows, y, strict=True)])


def hinge(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    costs = []
    for image, own in zip(x, y.tolist(), strict=True):
        scores = [dot(image, w) + float(b) for w, b in zip(loss.classify.weight, loss.classify.bias, strict=True)]
        terms = [max(0.0, 1 + score - scores[own]) for index, score in enumerate(scores) if index != own]
        if options.get("squared"):
            terms = [term**2 for term in terms]
        whole = max(terms) if options.get("multiclass") == "crammer-singer" else sum(terms)
        costs.append(whole / len(scores) if options.get("reduction") == "mean" else whole)
    return mean(costs) + 1e-4 / 2 * sum(float(w) ** 2 for w in loss.classify.weight.flatten())


def contrastive(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:  # noqa: ARG001
    near, far = [], []
    for i, left in enumerate(x):
        alike, unlike = [0.0], [0.0]
        for j, right in enumerate(x):
            distance = math.sqrt(square(left, right))
            if i != j and y[i] == y[j]:
                alike.append(distance**2 / 2)
            elif y[i] != y[j]:
                unlike.append(max(0.0, 1 - distance) ** 2 / 2)
        near += [max(alike)] if options.get("selection") == "hard" else alike[1:]
        far += [max(unlike)] if options.get("selection") == "hard" else unlike[1:]
    return mean(near) + mean(far)


def triplet(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:  # noqa: ARG001
    selection, margin = options.get("selection", "semi-hard"), options.get("margin", 0.2)
    costs = []
    indices = range(len(x))
    for a in indices:
        positives = [square(x[a], x[p]) for p in indices if p != a and y[p] == y[a]]
        negatives = [square(x[a], x[n]) for n in indices if y[n] != y[a]]
        if selection == "hard":
            costs.append(max(0.0, max(positives) - min(negatives) + margin))
            continue
        for near in positives:
            for far in negatives:
                if selection == "all" or near < far < near + margin:
                    costs.append(max(0.0, near - far + margin))
    return mean(costs)


def center(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    distances = [square(image, loss.centers.detach()[own]) for image, own in zip(x, y, strict=True)]
    weight: float = options.get("center_weight", 0.003)
    return softmax(loss, x, y, options) + weight / 2 * mean(distances)


def proxy_nca(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    scale, proxies = options.get("scale", 9.0), unit(loss.proxies)
    costs = []
    for image, own in zip(unit(x), y.tolist(), strict=True):
        scores = [-scale * square(image, proxy) for proxy in proxies]
        inside = options.get("positive_in_denominator", False)
        costs.append(log_sum_exp([s for z, s in enumerate(scores) if inside or z != own]) - scores[own])
    return mean(costs)


def proxy_anchor(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    margin, alpha = options.get("margin", 0.1), options.get("sharpness", 32.0)
    proxies, images = unit(loss.library.proxies), unit(x)
    positive, negative = [], []
    for own, proxy in enumerate(proxies):
        cosines = [(dot(image, proxy), int(label) == own) for image, label in zip(images, y, strict=True)]
        alike = [math.exp(-alpha * (cosine - margin)) for cosine, same in cosines if same]
        if alike:
            positive.append(math.log(1 + sum(alike)))
        negative.append(math.log(1 + sum(math.exp(alpha * (cosine + margin)) for cosine, same in cosines if not same)))
    return mean(positive) + mean(negative)


def npair(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:  # noqa: ARG001
    pairs = []
    for own in sorted(set(y.tolist())):
        members = [index for index in range(len(y)) if y[index] == own]
        pairs.append((x[members[0]], x[members[1]]))
    costs = []
    for i, (anchor, positive) in enumerate(pairs):
        others = [dot(anchor, pairs[j][1]) - dot(anchor, positive) for j in range(len(pairs)) if j != i]
        costs.append(math.log(1 + sum(math.exp(other) for other in others)))
    lengths = [dot(vector, vector) for pair in pairs for vector in pair]
    weight: float = options.get("norm_weight", 0.003)
    return mean(costs) + weight * mean(lengths)


def nca(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:  # noqa: ARG001
    costs = []
    for i in range(len(x)):
        weights = {j: math.exp(-options.get("scale", 1.0) * square(x[i], x[j])) for j in range(len(x)) if j != i}
        own = sum(weight for j, weight in weights.items() if y[j] == y[i])
        costs.append(-math.log(own / sum(weights.values())))
    return mean(costs)


def supcon(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:  # noqa: ARG001
    temperature, costs = options.get("temperature", 0.1), []
    for i in range(len(x)):
        others = [dot(x[i], x[a]) / temperature for a in range(len(x)) if a != i]
        positives = [dot(x[i], x[p]) / temperature for p in range(len(x)) if p != i and y[p] == y[i]]
        costs.append(-mean([positive - log_sum_exp(others) for positive in positives]))
    return mean(costs)


def projected(loss: Any, x: Tensor) -> Tensor:
    first, _, last = loss.project
    hidden = functional.relu(x @ first.weight.T + first.bias)
    return unit(hidden @ last.weight.T)


def nt_xent(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    temperature, z, costs = options.get("temperature", 0.5), projected(loss, x), []
    for i in range(len(z)):
        (partner,) = [j for j in range(len(z)) if j != i and y[j] == y[i]]
        others = [dot(z[i], z[k]) / temperature for k in range(len(z)) if k != i]
        costs.append(log_sum_exp(others) - dot(z[i], z[partner]) / temperature)
    return mean(costs)


def infonce(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    temperature, z, costs = options.get("temperature", 0.07), projected(loss, x), []
    half = len(z) // 2
    for i in range(half):
        (partner,) = [j for j in range(half, len(z)) if y[j] == y[i]]
        seconds = [dot(z[i], z[k]) / temperature for k in range(half, len(z))]
        costs.append(log_sum_exp(seconds) - dot(z[i], z[partner]) / temperature)
    return mean(costs)


def nce(loss: Any, x: Tensor, y: Tensor, options: dict[str, Any]) -> float:
    num_noise: int = options.get("num_noise", 10)
    real, noise, z = [], [], unit(x)
    for i in range(len(z)):
        for j in range(len(z)):
            if i == j:
                continue
            log_odds = float(loss.scale) * dot(z[i], z[j]) + float(loss.shift) - math.log(num_noise)
            probability = 1 / (1 + math.exp(-log_odds))
            if y[i] == y[j]:
                real.append(-math.log(probability))
            noise.append(-math.log(1 - probability))
    return mean(real) + num_noise * mean(noise)


_SELECTIONS: tuple[dict[str, Any], ...] = ({}, {"selection": "hard"}, {"selection": "all"})
FORMULAS: dict[str, Case] = {
    "softmax": Case(softmax),
    "cosine-softmax": Case(cosine_softmax, ({}, {"scale": 2.0}, {"class_norm": True})),
    "hinge": Case(hinge, ({}, {"squared": True}, {"reduction": "mean"}, {"multiclass": "crammer-singer"})),
    "contrastive": Case(contrastive, _SELECTIONS[:2]),
    "triplet": Case(triplet, (*_SELECTIONS, {"margin": 1.0})),
    "center": Case(center, ({}, {"center_weight": 1.0})),
    "proxy-nca": Case(proxy_nca, ({}, {"scale": 1.0}, {"positive_in_denominator": True})),
    "proxy-anchor": Case(proxy_anchor, ({}, {"margin": 0.2, "sharpness": 8.0})),
    "npair": Case(npair, ({}, {"norm_weight": 0.5})),
    "nca": Case(nca, ({}, {"scale": 0.5})),
    "supcon": Case(supcon, ({}, {"temperature": 0.5})),
    "nt-xent": Case(nt_xent, ({}, {"temperature": 0.1})),
    "infonce": Case(infonce, ({}, {"temperature": 0.5})),
    "nce": Case(nce, ({}, {"num_noise": 3})),
}
