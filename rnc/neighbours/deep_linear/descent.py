"""Descent on a deep linear problem, from several starts at once, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from rnc.errors import check_whole
from rnc.neighbours.deep_linear.theory import Problem
from rnc.progress import progress


@dataclass(frozen=True)
class Descent:
    """Where descent ended, from several starts.

    Attributes:
        loss: objective, S.
        layers: W_1 ... W_M, each S x rows x columns.
        features: S x d x N.
        bias: S x K; zeros without.
    """

    loss: Tensor
    layers: list[Tensor]
    features: Tensor
    bias: Tensor

    @property
    def classifier(self) -> Tensor:
        """W, S x K x d."""
        return _product(self.layers)

    def means(self, problem: Problem) -> Tensor:
        """Class means, S x d x K."""
        one_hot = F.one_hot(problem.labels).double()
        return self.features @ one_hot / one_hot.sum(0)


def start(problem: Problem, width: int, scales: Sequence[float], seed: int = 0) -> list[Tensor]:
    """Gaussian layers and features, one start for each standard deviation in `scales`.

    Args:
        width: d, of the features and between layers.

    Returns:
        W_1 ... W_M, H and the bias, each with a leading dimension S.
    """
    check_whole("width", width, 1)
    noise, k = Generator().manual_seed(seed), len(problem.counts)
    scale = torch.tensor(list(scales), dtype=torch.float64).view(-1, 1, 1)
    shapes = [(width, width)] * (problem.layers - 1) + [(k, width), (width, problem.points)]
    drawn = [
        scale * torch.randn(len(scale), *shape, generator=noise, dtype=torch.float64)
        for shape in shapes
    ]
    return [*drawn, torch.zeros(len(scale), k, dtype=torch.float64)]


def start_alive(problem: Problem, width: int, alive: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Starts at which the largest so many classes, and no others, have an orthogonal direction of
    size 1.5 of their own; noise of 0.01 elsewhere."""
    parts = start(problem, width, [0.01] * len(alive), seed)
    order = np.argsort(problem.counts, kind="stable")[::-1]
    *layers, features, bias = parts
    for number, count in enumerate(alive):
        for axis, label in enumerate(order[:count]):
            for layer in layers[:-1]:
                layer[number, axis, axis] += 1.5
            layers[-1][number, label, axis] += 1.5
            features[number, axis, problem.labels == label] += 1.5
    return [*layers, features, bias]


def descend(
    problem: Problem,
    parts: list[Tensor],
    loss: str = "squared",
    steps: int = 1000,
    rate: float = 0.05,
) -> Descent:
    """Adam with a rate that falls on a cosine, then L-BFGS, in float64, from several starts.

    Args:
        parts: as `start` gives them.
        loss: "squared" or "cross_entropy".
    """
    parts = [part.clone().requires_grad_() for part in parts]
    *layers, features, bias = parts
    trained = parts if problem.bias else parts[:-1]
    optimiser = torch.optim.Adam(trained, rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in progress(range(steps), "descending: step", steps):
        optimiser.zero_grad()
        objective(problem, layers, features, bias, loss).sum().backward()
        optimiser.step()
        schedule.step()
    last = torch.optim.LBFGS(
        trained,
        max_iter=100,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def total() -> Tensor:
        last.zero_grad()
        value = objective(problem, layers, features, bias, loss).sum()
        value.backward()
        return value

    last.step(total)
    with torch.no_grad():
        end = objective(problem, layers, features, bias, loss)
    return Descent(end, [w.detach() for w in layers], features.detach(), bias.detach())


def objective(
    problem: Problem, layers: list[Tensor], features: Tensor, bias: Tensor, loss: str = "squared"
) -> Tensor:
    """The objective of each of S networks; arguments as the attributes of `Descent`."""
    logits = _product(layers) @ features + bias[..., None]
    labels = problem.labels
    if loss == "squared":
        fit = (logits - F.one_hot(labels).T.double()).square().sum((1, 2)) / (2 * problem.points)
    else:
        each = F.cross_entropy(logits, labels.expand(len(logits), -1), reduction="none")
        fit = each.mean(1)
    decayed = [
        decay / 2 * w.square().sum((1, 2)) for decay, w in zip(problem.decays, layers, strict=True)
    ]
    return fit + sum(decayed) + problem.feature_decay / 2 * features.square().sum((1, 2))


def _product(layers: list[Tensor]) -> Tensor:
    product = layers[0]
    for layer in layers[1:]:
        product = layer @ product
    return product
