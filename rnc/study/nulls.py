"""What chance gives: the values of measures where there is no collapse, at the same N, K and D.

N points in K classes with D features that know nothing of the classes; by theory where it is
short, else by simulation with a fixed seed.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from rnc.collapse import simplex_deviation

DRAWS = 200


def nc1(n: int, k: int, d: int) -> float:
    """NC1/(K - 1) of isotropic Gaussian points with random labels: N/(D - K).

    The centred class means span K - 1 independent Gaussian directions, each number with K/N of a
    point's variance, so that the mean of Sigma_B^+ is that of an inverse Wishart distribution;
    nan for D <= K, where it is infinite.
    """
    return n / (d - k) if d > k else float("nan")


@functools.cache
def nc2(k: int, d: int) -> tuple[float, float]:
    """Norms and angles of NC2 of K random Gaussian means in D dimensions, mean over draws."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(DRAWS, k, d, dtype=torch.float64, generator=generator)
    deviations = [simplex_deviation(means - means.mean(0)) for means in draws]
    norms, angles = np.mean(deviations, axis=0)
    return float(norms), float(angles)


NC3 = 2.0  # the classifier's rows and the means at right angles


def nc4(k: int) -> float:
    """The nearest class centre and the network agree by luck alone."""
    return 1 - 1 / k


@functools.cache
def away_from_uniform(n: int, k: int) -> float:
    """The total variation from equal counts that 99 % of draws of N uniform labels stay below."""
    counts = np.random.default_rng(0).multinomial(n, [1 / k] * k, size=2000)
    return float(np.quantile(abs(counts - n / k).sum(1) / 2 / n, 0.99))
