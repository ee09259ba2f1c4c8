"""Pairs of training points, and their mixes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rnc.neighbours.mixup.theory import check_share


@dataclass(frozen=True)
class Pairs:
    """Pairs of points, as numbers in x.

    Attributes:
        first, second: P numbers of points.
        a, b: their labels, P.
    """

    first: Tensor
    second: Tensor
    a: Tensor
    b: Tensor

    @classmethod
    def between(cls, y: Tensor, classes: list[tuple[int, int]], count: int, seed: int) -> Pairs:
        """So many of each of some pairs of classes, one after the other.

        Args:
            y: labels of the points, N.
            classes: pairs of classes; of two that are equal no point is paired with itself.
            count: of each, drawn with replacement.
        """
        noise = Generator().manual_seed(seed)
        first, second = [], []
        for a, b in classes:
            of_a, of_b = (torch.nonzero(y == c).flatten() for c in (a, b))
            one = torch.randint(len(of_a), (count,), generator=noise)
            if a == b:  # another one of the class
                step = torch.randint(1, len(of_b), (count,), generator=noise)
                two = (one + step) % len(of_b)
            else:
                two = torch.randint(len(of_b), (count,), generator=noise)
            first.append(of_a[one])
            second.append(of_b[two])
        one, two = torch.cat(first), torch.cat(second)
        return cls(one, two, y[one], y[two])

    def mixed(self, x: Tensor, lam: float | Tensor) -> Tensor:
        """lambda x_first + (1 - lambda) x_second.

        Args:
            x: the points, N x C x H x W.
            lam: one share for all pairs or one for each, P; in [0, 1].
        """
        shares = torch.as_tensor(lam, dtype=x.dtype)
        for extreme in shares.aminmax():
            check_share(float(extreme))
        if shares.dim():
            shares = shares.view(-1, 1, 1, 1)
        return torch.lerp(x[self.second], x[self.first], shares)


def same(classes: int) -> list[tuple[int, int]]:
    """Each class with itself."""
    return [(c, c) for c in range(classes)]


def different(classes: int) -> list[tuple[int, int]]:
    """Ordered pairs of different classes."""
    return list(itertools.permutations(range(classes), 2))
