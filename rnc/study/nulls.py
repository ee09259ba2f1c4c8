"""What chance gives: the values of measures where there is no collapse, at the same N, K and D.

N points in K classes with D features that know nothing of the classes; by theory where it is
short, else by simulation with a fixed seed.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from rnc.collapse import measure, simplex_deviation
from rnc.geometry import between_spectrum, effective_rank, principal_angles

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


@functools.cache
def subspaces(k: int, d: int, draws: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Of K random Gaussian means in D >= K - 1 dimensions the spectrum of Sigma_B, as shares, and
    the principal angles between the spans of two such sets in radians; K - 1 each, mean over
    draws."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(draws, 2, k, d, dtype=torch.float64, generator=generator)
    spectra = torch.stack([between_spectrum(one) for one, _ in means])
    angles = torch.stack([principal_angles(one, other) for one, other in means])
    return spectra.mean(0).numpy(), angles.mean(0).numpy()


@functools.cache
def rank(k: int, d: int, draws: int = 50) -> float:
    """Effective rank of Sigma_B of K random Gaussian means in D dimensions, mean over draws."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(draws, k, d, dtype=torch.float64, generator=generator)
    return float(np.mean([effective_rank(between_spectrum(one)) for one in means]))


@functools.cache
def scattered(n: int, k: int, draws: int = 20) -> float:
    """NC1/(K - 1) by predicted label of N points that scatter in the span of K means.

    The points are isotropic Gaussian in the K - 1 dimensions of a simplex, each in the group of
    the vertex nearest to it in angle; so it depends on no length. Mean over draws; groups without
    a point are left out, and nan where there are fewer than two.
    """
    vertices = torch.linalg.svd(torch.eye(k, dtype=torch.float64) - 1 / k)[0][:, : k - 1]
    generator = torch.Generator().manual_seed(0)
    spreads = []
    for _ in range(draws):
        points = torch.randn(n, k - 1, dtype=torch.float64, generator=generator)
        nearest = (points @ vertices.T).argmax(1)
        labels, groups = nearest.unique(return_inverse=True)
        if len(labels) < 2:
            return float("nan")
        spreads.append(measure([(points, groups)], len(labels)).nc1 / (len(labels) - 1))
    return float(np.mean(spreads))


NC3 = 2.0  # the classifier's rows and the means at right angles


def nc4(k: int) -> float:
    """The nearest class centre and the network agree by luck alone."""
    return 1 - 1 / k


@functools.cache
def away_from_uniform(n: int, k: int) -> float:
    """The total variation from equal counts that 99 % of draws of N uniform labels stay below."""
    counts = np.random.default_rng(0).multinomial(n, [1 / k] * k, size=2000)
    return float(np.quantile(abs(counts - n / k).sum(1) / 2 / n, 0.99))
