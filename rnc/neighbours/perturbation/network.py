"""A residual network on digits, trained as it comes or on attacked points, and the features of its
layers; and a block that is trained on the model's own objective."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.attacks import pgd
from rnc.neighbours.deep_linear.network import Digits
from rnc.neighbours.perturbation.theory import Problem, objective, ridge
from rnc.progress import progress
from rnc.surveys import share

CLASSES, PER_CLASS, WIDTH, HIDDEN, BLOCKS = 10, 50, 64, 128, 6
DECAY, RATE = 1e-4, 2e-3


class Residual(nn.Module):
    """h + V relu(U h + a): the layer whose given features are h."""

    def __init__(self, width: int = WIDTH, hidden: int = HIDDEN):
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(F.relu(self.inner(h)))


class Network(nn.Module):
    """A linear embedding, residual blocks of equal width, and a classifier without bias."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH))
        self.blocks = nn.Sequential(*(Residual() for _ in range(BLOCKS)))
        self.head = nn.Linear(WIDTH, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embedding(x)))

    @torch.no_grad()
    def layers(self, x: Tensor) -> list[Tensor]:
        """Features after the embedding and after each block, N x d."""
        first = self.embedding(x)
        return list(itertools.accumulate(self.blocks, lambda h, block: block(h), initial=first))


def digits(seed: int = 0) -> Digits:
    """Digits of 8 x 8 pixels: of each class 50 that are drawn to train on, and 50 to test."""
    found, rng = load_digits(), np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(found.target == c)) for c in range(CLASSES)]
    parts = []
    for first in (0, PER_CLASS):
        rows = np.concatenate([rows[first : first + PER_CLASS] for rows in drawn])
        parts.append(torch.tensor(found.images[rows] / 16).float()[:, None])
        parts.append(torch.tensor(found.target[rows]))
    return Digits(*parts)


def untrained(seed: int) -> Network:
    """A network at its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def train(images: Digits, seed: int, steps: int, eps: float) -> Network:
    """A network that minimises |logits - one-hot|^2/(2N) with decay, by full-batch Adam at a rate
    that falls along a cosine; float32.

    Args:
        eps: radius in image units (l_inf) of the PGD with 5 steps that perturbs the points in each
            step of the training; 0: they are clean.
    """
    network, noise = untrained(seed), Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    target = F.one_hot(images.y, CLASSES).float()
    attack = {"eps": eps, "alpha": eps / 4, "steps": 5, "generator": noise, "check": False}
    name = "AT" if eps else "ST"
    for _ in progress(range(steps), f"training {name} on digits: step", steps):
        x = pgd(network, images.x, images.y, **attack) if eps else images.x
        optimiser.zero_grad()
        loss = (network(x) - target).square().sum() / (2 * len(target))
        squares = sum(parameter.square().sum() for parameter in network.parameters())
        (loss + DECAY / 2 * squares).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def attacked(network: Network, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Points under PGD with 20 steps; eps in image units."""
    noise = Generator().manual_seed(0)
    return pgd(network, x, y, eps=eps, alpha=eps / 5, steps=20, generator=noise)


@torch.no_grad()
def accuracy(network: Network, x: Tensor, y: Tensor) -> float:
    """The share of points that get their label."""
    return share(network(x).argmax(1) == y)


@dataclass(frozen=True)
class Block:
    """What a block and its classifier reach on the model's objective: features d x Kn, f."""

    features: np.ndarray
    loss: float


def train_block(given: np.ndarray, problem: Problem, seed: int, steps: int) -> Block:
    """Trains a residual block on given features, with a classifier, on f of the features that come
    out: what it reaches cannot be below the minimum over free features.

    It starts as the identity, with the best classifier of the given features; Adam, float32.

    Args:
        given: H0, d x Kn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = Residual(problem.dim, 256)
    nn.init.zeros_(block.outer.weight)
    head = nn.Parameter(torch.tensor(ridge(given, problem)).float())
    x = torch.tensor(given.T).float()
    target = torch.tensor(problem.targets.T).float()
    optimiser = torch.optim.Adam([*block.parameters(), head], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in progress(range(steps), "training a block: step", steps):
        optimiser.zero_grad()
        h = block(x)
        (
            (h @ head.T - target).square().sum() / problem.points
            + problem.w * head.square().sum()
            + problem.u / problem.points * h.square().sum()
            + problem.beta / problem.points * (h - x).square().sum()
        ).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        features, classifier = (part.double().numpy() for part in (block(x).T, head))
    return Block(features, objective(classifier, features, given, problem))
