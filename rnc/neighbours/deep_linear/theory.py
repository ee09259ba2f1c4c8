"""Deep linear networks on free features, from balanced to imbalanced classes (Dang et al. 2023).

K classes with n_k points each, N in all. The features H (d x N) are free, M linear layers without
bias follow, W = W_M ... W_1 (K x d), and Y (K x N) is one-hot:

    f = 1/(2N) |W H (+ a 1^T) - Y|^2 + sum_j w_j/2 |W_j|^2 + u/2 |H|^2

under the squared error, and 1/N sum_i CE(W h_i, y_i) with the same decays under the cross-entropy.
Decays are not divided by N or K. Ours are two remarks: which of two stationary points is the
minimum (`Optimum`), and a witness against a simplex under the cross-entropy (`pairs_loss`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from rnc.errors import ParameterError, check_positive, check_whole


@dataclass(frozen=True)
class Problem:
    """Sizes and decays.

    Attributes:
        counts: points of each class, n_1 ... n_K.
        decays: of the layers, w_1 ... w_M; there are M of them.
        feature_decay: u.
        bias: whether the last layer has one, which is not decayed.

    Raises:
        ParameterError: names the parameter, its value and what is allowed.
    """

    counts: tuple[int, ...]
    decays: tuple[float, ...]
    feature_decay: float
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("counts", "decays"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.counts) < 2:
            raise ParameterError(f"counts must be of at least two classes; got {self.counts!r}")
        for count in self.counts:
            check_whole("counts", count, 1)
        if not self.decays:
            raise ParameterError("decays must be of at least one layer; got none")
        for decay in (*self.decays, self.feature_decay):
            check_positive("decays", decay)  # at 0 no minimum is attained

    @property
    def layers(self) -> int:
        """M."""
        return len(self.decays)

    @property
    def points(self) -> int:
        """N."""
        return sum(self.counts)

    @cached_property
    def labels(self) -> Tensor:
        """Of the columns of H, class after class; N."""
        return torch.repeat_interleave(torch.tensor(self.counts))


def jump(layers: int) -> float:
    """B(M): a class is zero at the minimum iff b/n_k is at least this; see `Optimum`."""
    return (layers - 1) ** ((layers - 1) / layers) / layers


def last_root(layers: int) -> float:
    """E(M): up to this b/n_k there is a stationary point other than zero. For M >= 2 it is more
    than B(M); in between that point is a local minimum and zero the global one."""
    m = layers
    return (m + 1) ** 2 / (4 * m) * ((m - 1) / (m + 1)) ** ((m - 1) / m)


def decays_for(threshold: float, counts: Sequence[int], layers: int) -> float:
    """The decay, equal of features and layers, at which classes of up to `threshold` points are
    zero at the minimum."""
    n = sum(counts)
    return ((jump(layers) * threshold / (layers * n)) ** layers / n) ** (1 / (layers + 1))


@dataclass(frozen=True)
class Optimum:
    """The global minimum under the squared error, in closed form.

    With Pi the product of the layers' decays, b = M N (N Pi u)^(1/M) and A = N u, each class
    minimises n_k/(x^M + 1) + b x over x >= 0 alone, and p_k = A x_k^M. Beside the largest
    stationary point stands x = 0, which is lower from b/n_k = B(M) on: for M >= 2 that is before
    the stationary point ceases to exist (E(M)), so that "the largest root, or else zero" is wrong
    in between.

    With a bias the same holds of the eigenvectors of diag(n) - n n^T/N instead of classes.

    Attributes:
        problem: the problem.
        axes: K x K, orthonormal columns: e_k, or those eigenvectors.
        strengths: of each axis, n_k or the eigenvalue.
        x: of each axis.
    """

    problem: Problem
    axes: np.ndarray
    strengths: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, problem: Problem) -> Optimum:
        counts = np.array(problem.counts, float)
        axes, strengths = np.eye(len(counts)), counts
        if problem.bias:
            centred = np.diag(counts) - np.outer(counts, counts) / problem.points
            strengths, axes = np.linalg.eigh(centred)
            # of the vector that the bias takes over nothing is left but rounding
            strengths = np.where(strengths > 1e-9 * counts.max(), strengths, 0.0)
        x = [_minimiser(cost(problem), strength, problem.layers) for strength in strengths]
        return cls(problem, axes, strengths, np.array(x))

    @property
    def p(self) -> np.ndarray:
        """Of each axis, p = A x^M: without bias the squared length of the classifier's row."""
        return self.problem.points * self.problem.feature_decay * self.x**self.problem.layers

    @property
    def rows(self) -> np.ndarray:
        """W W^T, K x K."""
        return (self.axes * self.p) @ self.axes.T

    @property
    def logits(self) -> np.ndarray:
        """W times the class means, K x K, a column for each class, without the bias."""
        return (self.axes * (self.p / (self.p + self._a))) @ self.axes.T @ self._targets

    @property
    def means(self) -> np.ndarray:
        """Products of the class means, K x K; the features of a class are all its mean."""
        inner = (self.axes * (self.p / (self.p + self._a) ** 2)) @ self.axes.T
        return self._targets.T @ inner @ self._targets

    @property
    def bias(self) -> np.ndarray:
        """Of each class; 0 without."""
        counts = np.array(self.problem.counts, float)
        return counts / self.problem.points if self.problem.bias else 0 * counts

    @property
    def loss(self) -> float:
        """The minimum value."""
        n, b = self.problem.points, cost(self.problem)
        left = self.strengths / (self.x**self.problem.layers + 1) + b * self.x
        return float(left.sum()) / (2 * n)

    def spectra(self) -> list[np.ndarray]:
        """Squared singular values of each layer, first to last, largest first; K of each."""
        pi = math.prod(self.problem.decays)
        scale = (self._a * pi) ** (1 / self.problem.layers)
        return [np.sort(scale * self.x / decay)[::-1] for decay in self.problem.decays]

    @property
    def alive(self) -> np.ndarray:
        """For each axis, whether it is not zero."""
        return self.x > 0

    @property
    def _a(self) -> float:
        return self.problem.points * self.problem.feature_decay

    @property
    def _targets(self) -> np.ndarray:
        """What the logits are to be, less what the bias takes over."""
        k = len(self.problem.counts)
        return np.eye(k) - np.outer(self.bias, np.ones(k))


def cost(problem: Problem) -> float:
    """b = M N (N Pi u)^(1/M), the price of x."""
    pi = math.prod(problem.decays)
    n, m = problem.points, problem.layers
    return m * n * (n * pi * problem.feature_decay) ** (1 / m)


def stationary(ratio: float, layers: int) -> float:
    """The largest x with b/n_k = M x^(M-1)/(x^M + 1)^2; nan where there is none.

    Args:
        ratio: b/n_k.
        layers: M.
    """
    top = ((layers - 1) / (layers + 1)) ** (1 / layers)  # of the right-hand side

    def excess(x: float) -> float:
        return layers * x ** (layers - 1) / (x**layers + 1) ** 2 - ratio

    if excess(top) < 0:
        return math.nan
    high = 2 * top + 1
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, top, high, xtol=1e-15, rtol=1e-14))


def _minimiser(b: float, strength: float, layers: int) -> float:
    if not strength or b / strength >= jump(layers):
        return 0.0
    return stationary(b / strength, layers)


# Cross-entropy -------------------------------------------------------------------------------


def simplex_loss(
    classes: int, points: int, decays: Sequence[float], feature_decay: float
) -> float:
    """The least cross-entropy objective of a simplex: logits t (I - 11^T/K), balanced, without
    bias; or log K, that of zero.

    Args:
        classes: K.
        points: n of each class.
        decays: of the layers.
    """
    q, c = _price(points, decays, feature_decay)

    def value(t: float) -> float:
        return math.log1p((classes - 1) * math.exp(-t)) + (classes - 1) * c / q * t**q

    return min(math.log(classes), _least(value))


def pairs_loss(classes: int, points: int, decays: Sequence[float], feature_decay: float) -> float:
    """The same of a witness that is no simplex, for an even K: classes in K/2 pairs, of which each
    has a direction of its own and two opposite vectors. Its rank is K/2, that of a simplex K - 1,
    and from two layers on rank is dear."""
    if classes % 2:
        raise ParameterError(f"classes must be even for pairs; got {classes!r}")
    q, c = _price(points, decays, feature_decay)

    def value(r: float) -> float:
        others = (classes - 2) * math.exp(-r) + math.exp(-2 * r)
        return math.log1p(others) + classes / 2 * c / q * (2 * r) ** q

    return min(math.log(classes), _least(value))


def _price(points: int, decays: Sequence[float], feature_decay: float) -> tuple[float, float]:
    """q and C of C/q sum_i s_i^q, what logits of singular values s_i cost at the best
    factorisation."""
    m = len(decays)
    return 2 / (m + 1), (math.prod(decays) * points * feature_decay) ** (1 / (m + 1))


def _least(value: Callable[[float], float]) -> float:
    """The least value over positive arguments: the best of a grid, refined."""
    grid = np.geomspace(1e-3, 1e3, 400)
    best = int(np.argmin([value(x) for x in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(minimize_scalar(value, bounds=(low, high), options={"xatol": 1e-12}).fun)
