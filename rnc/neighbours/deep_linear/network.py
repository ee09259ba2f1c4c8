"""A real network whose last layers are linear, on imbalanced digits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.attacks import pgd
from rnc.neighbours.deep_linear.theory import Problem
from rnc.progress import progress
from rnc.surveys import class_means, share

ATTACK = {"eps": 0.1, "alpha": 0.02, "steps": 20}  # in image units


@dataclass(frozen=True)
class Digits:
    """Digits of 8 x 8 pixels in [0, 1], of each class so many to train on and the others to test.

    Attributes:
        x, y, x_test, y_test: images, N x 1 x 8 x 8, and labels, class after class.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @classmethod
    def of(cls, counts: Sequence[int]) -> Digits:
        found = load_digits()
        images, labels = torch.tensor(found.images / 16).float()[:, None], found.target
        places = [torch.tensor(labels == c).nonzero().flatten() for c in range(len(counts))]
        train = torch.cat([place[:n] for place, n in zip(places, counts, strict=True)])
        test = torch.cat([place[n:] for place, n in zip(places, counts, strict=True)])
        y = torch.tensor(labels)
        return cls(images[train], y[train], images[test], y[test])


class Network(nn.Module):
    """Three layers with ReLU between, whose features are decayed, and M linear layers."""

    def __init__(self, problem: Problem, width: int = 32):
        super().__init__()
        sizes = [64, 128, 128, width]
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.backbone = nn.Sequential(*layers[:-1])
        inner = [nn.Linear(width, width, bias=False) for _ in problem.decays[1:]]
        self.head = nn.Sequential(*inner, nn.Linear(width, len(problem.counts), bias=False))
        for layer in self.head:  # from a smaller start classes die that could live
            nn.init.orthogonal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    @property
    def classifier(self) -> Tensor:
        """The linear layers as one, K x D."""
        product = self.head[0].weight
        for layer in list(self.head)[1:]:
            product = layer.weight @ product
        return product.detach()


def train(problem: Problem, digits: Digits, seed: int, steps: int = 1000) -> tuple[Network, float]:
    """A network and its objective: that of `rnc.neighbours.deep_linear.theory`, with features as
    they come out of the layers before. So it cannot be below the minimum over free features.

    Full-batch Adam, rate 0.003 on a cosine, float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(problem)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    target = F.one_hot(digits.y, len(problem.counts)).float()

    def objective() -> Tensor:
        h = network.backbone(digits.x)
        fit = (network.head(h) - target).square().sum() / (2 * len(target))
        decayed = sum(
            decay / 2 * layer.weight.square().sum()
            for decay, layer in zip(problem.decays, network.head, strict=True)
        )
        return fit + decayed + problem.feature_decay / 2 * h.square().sum()

    for _ in progress(range(steps), "training on imbalanced digits: step", steps):
        optimiser.zero_grad()
        objective().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return network.eval(), float(objective())


def examine(network: Network, problem: Problem, digits: Digits) -> dict:
    """Gram matrices of the classifier's rows and of the class means, K x K; and per class the
    accuracy on training points, on test points (recall) and on test points under PGD."""
    k = len(problem.counts)
    with torch.no_grad():
        means = class_means(network.backbone(digits.x), digits.y, k)
    noise = Generator().manual_seed(0)
    attacked = pgd(network, digits.x_test, digits.y_test, **ATTACK, generator=noise)
    rows = network.classifier.double()

    def by_class(x: Tensor, y: Tensor) -> list[float]:
        with torch.no_grad():
            right = network(x).argmax(1) == y
        return [share(right[y == c]) for c in range(k)]

    return {
        "rows": rows @ rows.T,
        "means": means @ means.T,
        "train": by_class(digits.x, digits.y),
        "test": by_class(digits.x_test, digits.y_test),
        "attacked": by_class(attacked, digits.y_test),
    }
